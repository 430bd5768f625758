//! A client of an exchange that gives a URL with a token for each connection: `cargo run --example exchange -- 127.0.0.1:9002`
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::{sync::mpsc, thread, time::Duration};
use wsring::{Answered, Client, Config, CoreCx, Cx, DialId, Dialled, Handler, Message, Reconnect, Redial, Target};
/// Where the exchange is, how to come back, what to do with what it says, and (from its start on) the thread that asks for tokens.
pub struct Feed(pub String, pub Reconnect, pub fn(Message<'_>), pub Option<mpsc::SyncSender<DialId>>);

/// Asks for a URL: some seconds at most, so that an exchange which says nothing is asked again.
pub fn target(host: &str) -> Result<Target, Box<dyn std::error::Error>> {
    let (patience, mut answer) = (Duration::from_secs(3), String::new());
    let mut rest = TcpStream::connect_timeout(&host.to_socket_addrs()?.next().ok_or("no address")?, patience)?;
    rest.set_read_timeout(Some(patience)).and(rest.set_write_timeout(Some(patience)))?;
    write!(rest, "GET /token HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    rest.take(1 << 14).read_to_string(&mut answer)?;
    Ok(Target::new(answer.lines().last().unwrap_or_default())?)
}

impl Handler for Feed {
    type Conn = ();
    type Mail = ();
    fn on_start(&mut self, cx: &mut CoreCx<'_, Self>) {
        cx.connect(target(&self.0).expect("the exchange is there").reconnect(self.1));
        let ((ask, asked), handle, host) = (mpsc::sync_channel(1), cx.handle().clone(), self.0.clone());
        thread::spawn(move || asked.iter().for_each(|dial| _ = target(&host).map(|to| handle.retarget(dial, to))));
        self.3 = Some(ask);
    }
    fn on_redial(&mut self, _: &mut CoreCx<'_, Self>, dial: &Dialled, _: &Target) -> Redial {
        self.3.iter().for_each(|ask| _ = ask.try_send(dial.id)); // full: it is asking for one, which will do
        Redial::Later
    }
    fn on_answer(&mut self, _: &mut CoreCx<'_, Self>, _: &Dialled, _: &Answered<'_>) -> Option<()> {
        Some(())
    }
    fn on_message(&mut self, _: &mut Cx<'_, Self>, message: Message<'_>) {
        self.2(message);
    }
}

fn main() -> Result<(), wsring::Error> {
    let host = std::env::args().nth(1).unwrap_or("127.0.0.1:9002".to_owned());
    let client = Client::new().config(Config::default().data_timeout(Duration::from_secs(30)));
    client.run(move |_| Feed(host.clone(), Reconnect::default(), |message| println!("{message:?}"), None))?;
    Ok(())
}
