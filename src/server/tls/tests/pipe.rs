//! A transport in memory, which takes and gives as little as it likes. `tests/fuzz/` has it as well.

use std::{
    cell::RefCell,
    io::{self, ErrorKind, Read, Write},
    net::Shutdown,
    rc::Rc,
};

use crate::server::tls::Transport;

/// What is on its way, and what may be taken.
#[derive(Default)]
pub struct Kernel {
    pub to_server: Vec<u8>,
    pub to_client: Vec<u8>,
    pub room: usize,
    pub client_is_over: bool,
    pub server_is_over: bool,
}

#[derive(Clone, Default)]
pub struct Pipe(pub Rc<RefCell<Kernel>>);

impl Read for Pipe {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut kernel = self.0.borrow_mut();
        if kernel.to_server.is_empty() && !kernel.client_is_over {
            return Err(ErrorKind::WouldBlock.into());
        }
        let count = kernel.to_server.len().min(into.len());
        into[..count].copy_from_slice(&kernel.to_server[..count]);
        kernel.to_server.drain(..count);
        Ok(count)
    }
}

impl Write for Pipe {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        let mut kernel = self.0.borrow_mut();
        assert!(!kernel.server_is_over, "nothing follows FIN");
        if kernel.room == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        let count = from.len().min(kernel.room);
        kernel.room -= count;
        kernel.to_client.extend(&from[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Transport for Pipe {
    fn shutdown(&self, _: Shutdown) -> io::Result<()> {
        self.0.borrow_mut().server_is_over = true;
        Ok(())
    }
}
