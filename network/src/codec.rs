//! The codec of both request protocols: opaque bytes with size limits.
//!
//! ```text
//! request   length ‖ bytes
//! response  0 ‖ length ‖ bytes    answered
//!           1                     refused
//! ```
//! Lengths are written out, not implied by the end of the stream: a reset stream looks like an ended one.

use std::io;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::{StreamProtocol, request_response};

use crate::framing;

/// An answer on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Response {
    Answer(Vec<u8>),
    Refused,
}

const ANSWER: u8 = 0;
const REFUSED: u8 = 1;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Codec {
    pub(crate) request_bytes_max: usize,
    pub(crate) response_bytes_max: usize,
}

impl request_response::Codec for Codec {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Response;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        Ok(framing::read(io, self.request_bytes_max).await?)
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Response>
    where
        T: AsyncRead + Unpin + Send,
    {
        let mut status = [0];
        io.read_exact(&mut status).await?;
        match status {
            [ANSWER] => Ok(Response::Answer(framing::read(io, self.response_bytes_max).await?)),
            [REFUSED] => Ok(Response::Refused),
            [other] => {
                Err(io::Error::new(io::ErrorKind::InvalidData, format!("unknown response status {other}")))
            }
        }
    }

    async fn write_request<T>(&mut self, _: &StreamProtocol, io: &mut T, request: Vec<u8>) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        framing::write(io, &request).await
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

    #[test]
    fn responses_survive_the_wire_up_to_the_limit() {
        let mut codec = Codec { request_bytes_max: 4, response_bytes_max: 8 };
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
    fn unknown_status_is_refused() {
        let mut codec = Codec { request_bytes_max: 4, response_bytes_max: 8 };
        let error = block_on(codec.read_response(&NAME, &mut Cursor::new(vec![2, 0, 0, 0, 0])));
        assert_eq!(error.expect_err("unknown").kind(), io::ErrorKind::InvalidData);
    }
}
