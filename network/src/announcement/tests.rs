//! Announcements: form, signatures, and which one counts.
