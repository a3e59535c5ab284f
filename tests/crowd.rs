//! Many connections that do next to nothing, from addresses of their own: slowloris, held by one thread.

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use rustix::process::{Resource, getrlimit, setrlimit};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};

/// They go when it is dropped.
pub struct Crowd {
    members: Vec<Member>,
}

struct Member {
    stream: Option<TcpStream>,
    said: Vec<u8>,
    /// At the last look.
    stood: Stands,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stands {
    Inside,
    Waiting,
    Told,
    Cut,
}

/// How a crowd stands.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Connected and greeted with 220.
    pub inside: usize,
    /// Those of them that were inside at the look before, too. Only these were it at one time: a look takes a while, and
    /// somebody may have left for each who came.
    pub stayed: usize,
    /// Connected and not greeted yet.
    pub waiting: usize,
    /// Told 421, at the door or later.
    pub told: usize,
    /// Closed without a 421.
    pub cut: usize,
}

/// A connection from this address of the loopback network.
///
/// # Errors
/// What the kernel says: no descriptor is left, the address is not of this machine, nobody listens there, or
/// no port is free.
pub fn connect_from(from: Ipv4Addr, to: SocketAddrV4) -> io::Result<TcpStream> {
    let descriptor = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&descriptor, &SocketAddrV4::new(from, 0))?;
    connect(&descriptor, &to)?;
    Ok(TcpStream::from(descriptor))
}

/// As many descriptors as this process may have.
pub fn raise_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

impl Crowd {
    /// One connection from each of these addresses, in their order.
    pub fn from(addresses: impl Iterator<Item = Ipv4Addr>, to: &str) -> Crowd {
        raise_descriptors();
        let to: SocketAddrV4 = to.parse().unwrap();
        let join = |from| {
            let stream = connect_from(from, to).ok();
            stream.iter().for_each(|stream| stream.set_nonblocking(true).unwrap());
            Member { stream, said: Vec::new(), stood: Stands::Waiting }
        };
        Crowd { members: addresses.map(join).collect() }
    }

    /// Reads what came, then everybody who is inside writes these octets, as far as there is room for them.
    pub fn write(&mut self, octets: &[u8]) -> Standing {
        let standing = self.read();
        for member in self.members.iter_mut().filter(|member| member.said.starts_with(b"220")) {
            if let Some(stream) = &mut member.stream {
                // One that broke is found when it is read.
                let _ = stream.write(octets);
            }
        }
        standing
    }

    /// The same to those that read nothing: their replies stay in the kernel.
    pub fn write_unread(&mut self, octets: &[u8]) {
        for stream in self.members.iter_mut().filter_map(|member| member.stream.as_mut()) {
            let _ = stream.write(octets);
        }
    }

    /// What has come since, without waiting.
    pub fn read(&mut self) -> Standing {
        self.members.iter_mut().for_each(Member::read);
        let mut standing = Standing::default();
        for member in &mut self.members {
            let stands = member.stands();
            let count = match stands {
                Stands::Inside => &mut standing.inside,
                Stands::Waiting => &mut standing.waiting,
                Stands::Told => &mut standing.told,
                Stands::Cut => &mut standing.cut,
            };
            *count += 1;
            standing.stayed += usize::from((member.stood, stands) == (Stands::Inside, Stands::Inside));
            member.stood = stands;
        }
        standing
    }
}

impl Member {
    fn stands(&self) -> Stands {
        let told = self.said.windows(4).any(|window| window == b"421 ");
        match (&self.stream, told, self.said.starts_with(b"220")) {
            (_, true, _) => Stands::Told,
            (None, ..) => Stands::Cut,
            (Some(_), _, true) => Stands::Inside,
            (Some(_), ..) => Stands::Waiting,
        }
    }

    fn read(&mut self) {
        let Some(stream) = &mut self.stream else { return };
        let mut octets = [0; 4_096];
        loop {
            match stream.read(&mut octets) {
                Ok(0) => return self.stream = None,
                Ok(count) => self.said.extend_from_slice(&octets[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return self.stream = None,
            }
        }
    }
}
