//! A client of an exchange that gives a URL with a token for each connection: `cargo run --example exchange -- 127.0.0.1:9002`
use std::io::{Read, Write};
use std::{net::TcpStream, thread, time::Duration};
use wsring::{Answered, Client, Config, CoreCx, Cx, Dialled, Handler, Message, Reconnect, Redial, Target};
/// Where the exchange is, how to come back, and what to do with what it says.
pub struct Feed(pub String, pub Reconnect, pub fn(Message<'_>));

fn target(host: &str) -> Result<Target, Box<dyn std::error::Error>> {
    let (mut rest, mut answer) = (TcpStream::connect(host)?, String::new());
    write!(rest, "GET /token HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    rest.read_to_string(&mut answer)?;
    Ok(Target::new(answer.lines().last().unwrap_or_default())?)
}

impl Handler for Feed {
    type Conn = ();
    type Mail = ();
    fn on_start(&mut self, cx: &mut CoreCx<'_, Self>) {
        cx.connect(target(&self.0).expect("the exchange is there").reconnect(self.1));
    }
    fn on_redial(&mut self, cx: &mut CoreCx<'_, Self>, dial: &Dialled, _: &Target) -> Redial {
        let (handle, host, dial) = (cx.handle().clone(), self.0.clone(), dial.id);
        thread::spawn(move || target(&host).is_ok_and(|target| handle.retarget(dial, target).is_ok()));
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
    client.run(move |_| Feed(host.clone(), Reconnect::default(), |message| println!("{message:?}")))?;
    Ok(())
}
