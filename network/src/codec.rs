//! The codec of both request protocols: opaque bytes with size limits.
//!
//! ```text
//! request   length ‖ bytes
//! response  0 ‖ length ‖ bytes    answered
//!           1                     refused
//! ```
//! A request that is too large is handed over as such, because libp2p keeps errors of reading requests to itself.
//! Lengths are written out, not implied by the end of the stream: a reset stream looks like an ended one.

use std::io;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::{StreamProtocol, request_response};

use crate::{
    bound::Bound,
    framing::{self, FrameError, TooLarge},
};

/// A request as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Message(Vec<u8>),
    TooLarge(TooLarge),
}

/// An answer on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Response {
    Answer(Vec<u8>),
    Refused,
}

const ANSWER: u8 = 0;
const REFUSED: u8 = 1;

#[derive(Clone, Debug)]
pub(crate) struct Codec {
    pub(crate) request_bytes_max: Bound,
    pub(crate) response_bytes_max: Bound,
}

impl request_response::Codec for Codec {
    type Protocol = StreamProtocol;
    type Request = Request;
    type Response = Response;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Request>
    where
        T: AsyncRead + Unpin + Send,
    {
        match framing::read(io, &self.request_bytes_max).await {
            Ok(bytes) => Ok(Request::Message(bytes)),
            Err(FrameError::TooLarge(error)) => Ok(Request::TooLarge(error)),
            Err(FrameError::Io(error)) => Err(error),
        }
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Response>
    where
        T: AsyncRead + Unpin + Send,
    {
        let mut status = [0];
        io.read_exact(&mut status).await?;
        match status {
            [ANSWER] => Ok(Response::Answer(framing::read(io, &self.response_bytes_max).await?)),
            [REFUSED] => Ok(Response::Refused),
            [other] => {
                Err(io::Error::new(io::ErrorKind::InvalidData, format!("unknown response status {other}")))
            }
        }
    }

    async fn write_request<T>(&mut self, _: &StreamProtocol, io: &mut T, request: Request) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        match request {
            Request::Message(bytes) => framing::write(io, &bytes).await,
            Request::TooLarge(error) => unreachable!("{error}: such a request is only ever received"),
        }
    }

    async fn write_response<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        response: Response,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        match response {
            Response::Answer(bytes) => {
                io.write_all(&[ANSWER]).await?;
                framing::write(io, &bytes).await
            }
            Response::Refused => io.write_all(&[REFUSED]).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::{executor::block_on, io::Cursor};
    use libp2p::request_response::Codec as _;

    use super::*;

    const NAME: StreamProtocol = StreamProtocol::new("/test");

    fn codec() -> Codec {
        Codec { request_bytes_max: Bound::new(4), response_bytes_max: Bound::new(8) }
    }

    #[test]
    fn responses_survive_the_wire_up_to_the_limit() {
        let mut codec = codec();
        let mut roundtrip = |response: Response| {
            block_on(async {
                let mut wire = Cursor::new(Vec::new());
                codec.write_response(&NAME, &mut wire, response).await.expect("memory");
                wire.set_position(0);
                codec.read_response(&NAME, &mut wire).await
            })
        };
        for response in [Response::Answer(vec![]), Response::Answer(vec![1; 8]), Response::Refused] {
            assert_eq!(roundtrip(response.clone()).expect("allowed"), response);
        }
        let error = roundtrip(Response::Answer(vec![1; 9])).expect_err("one past the limit");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn request_too_large_is_handed_over_as_such() {
        let mut codec = codec();
        let mut roundtrip = |length: usize| {
            block_on(async {
                let mut wire = Cursor::new(Vec::new());
                codec
                    .write_request(&NAME, &mut wire, Request::Message(vec![1; length]))
                    .await
                    .expect("memory");
                wire.set_position(0);
                codec.read_request(&NAME, &mut wire).await.expect("whole")
            })
        };
        assert_eq!(roundtrip(4), Request::Message(vec![1; 4]), "at the limit");
        assert_eq!(roundtrip(5), Request::TooLarge(TooLarge { bytes: 5, max: 4 }), "one past it");
    }

    #[test]
    fn unknown_status_is_refused() {
        let mut codec = codec();
        let error = block_on(codec.read_response(&NAME, &mut Cursor::new(vec![2, 0, 0, 0, 0])));
        assert_eq!(error.expect_err("unknown").kind(), io::ErrorKind::InvalidData);
    }
}
