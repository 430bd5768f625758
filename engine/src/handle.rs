//! Reaches running cores from other threads: [`Handle`]; and what a core's handler is told when it is made: [`CoreInfo`]. What callbacks do
//! with other cores stands here as well, because it is the same.

mod deferred;
mod drain;
mod sharing;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use wsring_proto::close::CloseCode;

use crate::cores::{CoreState, Cpu, Place};
use crate::engine::{
    Bell, ConnId, Control, DialId, Letter, MailError, Mailbox, Names, Publish, Reader, TopicError, TopicId,
};
use crate::handler::{CoreCx, Handler, OwnedMessage};
use crate::stats::Stats;
use crate::target::Target;

/// What other threads hold of one core. It is made before the core's thread is: what it is told before the core runs waits.
pub(crate) struct Member<M> {
    pub(crate) control: Arc<Control>,
    mailbox: Arc<Mailbox<M>>,
    bell: Bell,
}

impl<M> Member<M> {
    /// Of a core that looks when `bell` is rung, and whose mailbox holds so many letters.
    pub(crate) fn new(bell: Bell, mailbox_max: u32) -> Self {
        Self { control: Arc::default(), mailbox: Arc::new(Mailbox::new(bell.clone(), mailbox_max)), bell }
    }

    /// The core's own end of its mailbox, of which there is one.
    pub(crate) fn reader(&self) -> Reader<M> {
        Reader::new(Arc::clone(&self.mailbox))
    }

    /// Room for so many letters, unless there is one already.
    #[cfg(feature = "unstable-ring")]
    pub(crate) fn set_mailbox_max(&self, letters: u32) {
        self.mailbox.set_room(letters);
    }

    pub(crate) fn ring(&self) {
        self.bell.ring();
    }

    pub(crate) fn stop_accepting(&self) {
        self.control.stop_accepting();
        self.ring();
    }

    pub(crate) fn stop(&self) {
        self.control.stop();
        self.ring();
    }

    pub(crate) fn wake(&self) {
        // Only the first since the last `on_wake` rings.
        if self.control.wake() {
            self.ring();
        }
    }

    pub(crate) fn mail(&self, mail: M) -> Result<(), MailError<M>> {
        self.mailbox.post(Letter::Mail(mail)).map_err(|error| {
            error.map(|letter| match letter {
                Letter::Mail(mail) => mail,
                _ => unreachable!("what was posted comes back"),
            })
        })
    }

    pub(crate) fn send(&self, id: ConnId, message: OwnedMessage) -> Result<(), MailError<OwnedMessage>> {
        self.mailbox.post(Letter::Send(id, message)).map_err(|error| {
            error.map(|letter| match letter {
                Letter::Send(_, message) => message,
                _ => unreachable!("what was posted comes back"),
            })
        })
    }

    pub(crate) fn publish(
        &self,
        topic: TopicId,
        how: Publish,
        message: OwnedMessage,
    ) -> Result<(), MailError<OwnedMessage>> {
        self.mailbox.post(Letter::Publish(topic, how, message)).map_err(|error| {
            error.map(|letter| match letter {
                Letter::Publish(_, _, message) => message,
                _ => unreachable!("what was posted comes back"),
            })
        })
    }

    pub(crate) fn close(&self, id: ConnId, code: CloseCode, reason: &str) -> Result<(), MailError<()>> {
        self.mailbox.post(Letter::Close(id, code, reason.into())).map_err(|error| error.map(drop))
    }

    fn retarget(&self, dial: DialId, target: Target) -> Result<(), MailError<()>> {
        self.mailbox.post(Letter::Retarget(dial, Box::new(target))).map_err(|error| error.map(drop))
    }

    pub(crate) fn stats(&self, patience: Duration) -> Option<Stats> {
        let stats = self.control.stats(|| self.ring(), patience)?;
        // Senders count those, also behind the core's end.
        Some(Stats { mail_refused: self.mailbox.refused(), mail_unread: self.mailbox.unread(), ..stats })
    }
}

impl<M> Clone for Member<M> {
    fn clone(&self) -> Self {
        let Self { control, mailbox, bell } = self;
        Self { control: Arc::clone(control), mailbox: Arc::clone(mailbox), bell: bell.clone() }
    }
}

/// Reaches the cores of a server or client from any thread. Cheap to clone.
///
/// It exists before the first core runs ([`CoreInfo::handle`]), and what it asks of a core that does not run yet is done once that
/// does. After the end it does nothing. `M` is [`Handler::Mail`].
///
/// What is sent by [`mail`](Self::mail), [`send`](Self::send), [`publish`](Self::publish), [`close`](Self::close), [`admit`](Self::admit) and [`respond`](Self::respond) lies in the core's mailbox
/// ([`Config::mailbox_max`](crate::Config::mailbox_max)) until its next pass; what one thread sends to a core is worked on in the order sent. A core that
/// sleeps is woken by the first of them, by a system call; one that runs, or polls ([`Config::spin`](crate::Config::spin)), needs none.
///
/// ```
/// use wsring::{Client, CoreCx, Cx, Handler, MailError, Message, Place};
///
/// struct Sum(u64);
///
/// impl Handler for Sum {
///     type Conn = ();
///     type Mail = u64;
///     fn on_message(&mut self, _: &mut Cx<'_, Self>, _: Message<'_>) {}
///     fn on_mail(&mut self, cx: &mut CoreCx<'_, Self>, mail: u64) {
///         self.0 += mail;
///         if mail == 0 {
///             println!("{}", self.0);
///             cx.stop_core();
///         }
///     }
/// }
///
/// let running = Client::new().start(|_| Sum(0))?;
/// let handle = running.handle();
/// for number in [1, 2, 3, 0] {
///     if let Err(MailError::Full(number)) = handle.mail(Place::new(0), number) {
///         println!("the core takes less than it is sent, and {number} is not");
///     }
/// }
/// running.join()?;
/// # Ok::<(), wsring::Error>(())
/// ```
pub struct Handle<M = ()> {
    /// At the places from this on.
    first: Place,
    members: Arc<[Member<M>]>,
    names: Arc<Names>,
}

impl<M> Handle<M> {
    /// Of cores that do not run yet, at the places from `first` on.
    pub(crate) fn new(first: Place, members: impl IntoIterator<Item = Member<M>>, names: Arc<Names>) -> Self {
        Self { first, members: members.into_iter().collect(), names }
    }

    /// `None`: there is no such core.
    fn find(&self, place: Place) -> Option<&Member<M>> {
        self.members.get(place.index().checked_sub(self.first.index())?)
    }

    pub(crate) fn member(&self, place: Place) -> &Member<M> {
        self.find(place).unwrap_or_else(|| panic!("there is no core {place}: there are {}", self.cores()))
    }

    pub(crate) fn names(&self) -> &Arc<Names> {
        &self.names
    }

    /// The topic of this name: the same on all cores. It takes a lock and hashes the name: ask once, and keep what is answered. A topic is never
    /// forgotten, so names that peers choose need a bound of your own. How a core treats it, and whether it retains anything, it is told by
    /// [`CoreCx::configure_topic`], each for itself; [`on_start`](Handler::on_start) is a good place.
    ///
    /// # Errors
    /// If there are [`Config::topics_max`](crate::Config::topics_max) already.
    pub fn topic(&self, name: &str) -> Result<TopicId, TopicError> {
        self.names.topic(name)
    }

    /// How many cores there are, 1 to 256.
    pub fn cores(&self) -> usize {
        self.members.len()
    }

    /// The place of every core, in order.
    pub fn places(&self) -> impl Iterator<Item = Place> + use<M> {
        Place::first(self.first.index() + self.members.len()).skip(self.first.index())
    }

    /// Sends to a core: its [`on_mail`](Handler::on_mail) is called, soon. Does not wait. `Ok` says that it is in the core's mailbox; what a
    /// core has not read when it ends is dropped and counted ([`Stats::mail_unread`]).
    ///
    /// # Errors
    /// [`MailError`], with the mail.
    ///
    /// # Panics
    /// If there is no such core.
    pub fn mail(&self, to: Place, mail: M) -> Result<(), MailError<M>> {
        self.member(to).mail(mail)
    }

    /// Sends a message to a connection, as [`Conn::send_owned`](crate::Conn::send_owned) does on its core. Does not wait. `Ok` says that it is in the
    /// mailbox of that core. If the output of the connection is at its cap then, or the connection is closing or over, the message is dropped and counted:
    /// [`Stats::refused`], [`Stats::gone`], [`Stats::mail_gone`].
    ///
    /// # Errors
    /// [`MailError`], with the message; [`MailError::Gone`] also for an id of another server's core that this one does not have.
    pub fn send(&self, to: ConnId, message: impl Into<OwnedMessage>) -> Result<(), MailError<OwnedMessage>> {
        let message = message.into();
        match self.find(to.place()) {
            Some(member) => member.send(to, message),
            None => Err(MailError::Gone(message)),
        }
    }

    /// Publishes a message to the subscribers of all cores, the caller's own among them: each core's mailbox takes it, and its next pass publishes it there as
    /// [`CoreCx::publish`] does, numbers it for its own subscribers, and counts it ([`Stats::published`]). The memory of the message is shared by all cores. Does not
    /// wait.
    ///
    /// Each core has what one thread publishes by handles in the order in which that was published, and in order with what else that thread sends to the
    /// core. What two publishers publish may come in another order on another core. What a callback publishes by [`CoreCx::publish`] is
    /// published at once, so before what it has published by a handle. A connection whose callback publishes gets its own message too, if it has subscribed.
    ///
    /// A core whose mailbox is full, or that has ended, goes without. It has not numbered such a message, so
    /// [`Update::prev`](crate::Update::prev) shows no gap, and what it retains stays what it was; [`Posted::full_places`] says where that is. Who must not lose one tries again there by
    /// [`publish_on`](Self::publish_on) before it publishes the next. A pass reads 256 letters: a callback that publishes what peers send it can fill
    /// the mailbox of its own core, where nothing is read until it returns. It [pauses](crate::Conn::pause) the peer then, and tries again from a timer.
    ///
    /// A thread that publishes until all cores have ended:
    ///
    /// ```
    /// use std::time::Duration;
    /// use wsring::{Client, Cx, Handle, Handler, Message, Publish, TopicError};
    ///
    /// fn publish(handle: &Handle) -> Result<(), TopicError> {
    ///     let prices = handle.topic("prices")?;
    ///     for price in 0.. {
    ///         let text = format!("{price}");
    ///         let posted = handle.publish(prices, text.as_str());
    ///         if posted.gone as usize == handle.cores() {
    ///             break;
    ///         }
    ///         for place in posted.full_places() {
    ///             let again = handle.publish_on(place, prices, Publish::default(), text.as_str());
    ///             if let Err(lost) = again {
    ///                 println!("core {place} goes without {price}: {lost}");
    ///             }
    ///         }
    ///         std::thread::sleep(Duration::from_millis(1));
    ///     }
    ///     Ok(())
    /// }
    ///
    /// struct Desk;
    ///
    /// impl Handler for Desk {
    ///     type Conn = ();
    ///     type Mail = ();
    ///     fn on_message(&mut self, _: &mut Cx<'_, Self>, _: Message<'_>) {}
    /// }
    ///
    /// let running = Client::new().start(|_| Desk)?;
    /// let handle = running.handle();
    /// let publisher = std::thread::spawn(move || publish(&handle));
    /// running.handle().stop();
    /// running.join()?;
    /// publisher.join().expect("no panic")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn publish(&self, topic: TopicId, message: impl Into<OwnedMessage>) -> Posted {
        self.publish_as(topic, Publish::default(), message)
    }

    /// The same, with a key: see [`CoreCx::publish_keyed`].
    pub fn publish_keyed(&self, topic: TopicId, key: u64, message: impl Into<OwnedMessage>) -> Posted {
        self.publish_as(topic, Publish::keyed(key), message)
    }

    /// The same, with a message that takes its key away: see [`CoreCx::remove_key`].
    pub fn remove_key(&self, topic: TopicId, key: u64, message: impl Into<OwnedMessage>) -> Posted {
        self.publish_as(topic, Publish::keyed(key).removes(), message)
    }

    /// The same, as `how` says.
    pub fn publish_as(&self, topic: TopicId, how: Publish, message: impl Into<OwnedMessage>) -> Posted {
        let (message, mut posted) = (message.into(), Posted::default());
        for (place, member) in self.places().zip(self.members.iter()) {
            match member.publish(topic, how, message.clone()) {
                Ok(()) => posted.taken += 1,
                Err(MailError::Full(_)) => posted.note_full(place),
                Err(MailError::Gone(_)) => posted.gone += 1,
            }
        }
        posted
    }

    /// The same, to the subscribers of one core.
    ///
    /// # Errors
    /// [`MailError`], with the message.
    ///
    /// # Panics
    /// If there is no such core.
    pub fn publish_on(
        &self,
        place: Place,
        topic: TopicId,
        how: Publish,
        message: impl Into<OwnedMessage>,
    ) -> Result<(), MailError<OwnedMessage>> {
        self.member(place).publish(topic, how, message.into())
    }

    /// Starts the closing handshake of a connection, as [`Conn::close`](crate::Conn::close) does on its core: how long the peer may stay then is
    /// said there. Does not wait. If the connection is over by then, that is counted ([`Stats::mail_gone`]).
    ///
    /// Who closes a user's connections from elsewhere keeps their [`ConnId`]s: put [`Conn::id`](crate::Conn::id) into a map of your own in
    /// [`on_open`](Handler::on_open), and take it out in [`on_close`](Handler::on_close). An id that is stale harms nobody: it never names a later connection.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn close(&self, id: ConnId, code: CloseCode, reason: &str) -> Result<(), MailError<()>> {
        self.find(id.place()).map_or(Err(MailError::Gone(())), |member| member.close(id, code, reason))
    }

    /// What the next attempt of a dial connects to, or the one that [waits for it](crate::Redial::Later), as
    /// [`CoreCx::retarget`](crate::CoreCx::retarget) does on its core: for a thread that asks for tokens. Does not wait. If no attempt follows by then, that is
    /// counted ([`Stats::mail_gone`]).
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn retarget(&self, dial: DialId, target: Target) -> Result<(), MailError<()>> {
        self.find(dial.place()).map_or(Err(MailError::Gone(())), |member| member.retarget(dial, target))
    }

    /// The counters of a core, from its next pass, or those of its end. Waits for that, at most for `patience`. `None`: it did not answer in time, or it
    /// failed and has no counters left.
    ///
    /// Not for callbacks: one that asks its own core waits for it in vain, one that asks another holds up its connections meanwhile, and two cores that
    /// ask each other both do. A callback has [`CoreCx::stats`]. For a page of metrics a thread of yours asks all
    /// [`places`](Self::places) each second, adds the counters up (`+=`), and leaves the text ([`Stats::pairs`]) in an `Arc<Mutex<String>>`,
    /// from which [`on_request`](Handler::on_request) answers.
    ///
    /// # Panics
    /// If there is no such core.
    pub fn stats(&self, place: Place, patience: Duration) -> Option<Stats> {
        self.member(place).stats(patience)
    }

    /// Accepts nobody more on any core, and serves on: those who wait in the listeners' queues are accepted and served, then the listeners are
    /// closed. The first half of a hand-over, before a [`drain`](Self::drain) or a [`stop`](Self::stop): a server that shares the port by SO_REUSEPORT gets all that is new. Cannot be
    /// taken back. Does not wait.
    pub fn stop_accepting(&self) {
        self.members.iter().for_each(Member::stop_accepting);
    }

    /// Begins a clean stop of all cores. Every open peer is told 1001, and cut after the stop timeout. Requests in progress and
    /// connections that wait in the listeners' queues are answered 503; a listener at which nobody waits is closed. Does not wait.
    ///
    /// Before it is closed, a listener waits for [`Config::linger`](crate::Config::linger) for those whose TCP handshake is under way. Who
    /// would begin one in that time begins a second later, with whoever listens then. A handshake that takes longer is reset by the
    /// kernel, unless another server shares the port and `net.ipv4.tcp_migrate_req` is 1 (Linux 5.14, ip-sysctl).
    pub fn stop(&self) {
        self.members.iter().for_each(Member::stop);
    }

    /// How far the life of a core has come. Never blocks; what it says may be over when it returns, but [`CoreState::Ended`] and
    /// [`CoreState::Failed`] are for ever. The others serve on beside a core that has failed, until
    /// [`Running::join`](crate::Running::join) stops them.
    ///
    /// # Panics
    /// If there is no such core.
    pub fn state(&self, place: Place) -> CoreState {
        self.member(place).control.state()
    }

    /// Has [`on_wake`](Handler::on_wake) called on a core, soon. Calls that come before it runs may come as one. Does not
    /// wait.
    ///
    /// # Panics
    /// If there is no such core.
    pub fn wake(&self, place: Place) {
        self.member(place).wake();
    }
}

impl<M> Clone for Handle<M> {
    fn clone(&self) -> Self {
        Self { first: self.first, members: Arc::clone(&self.members), names: Arc::clone(&self.names) }
    }
}

impl<M> fmt::Debug for Handle<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("cores", &self.cores()).finish_non_exhaustive()
    }
}

/// What became of a message that a [`Handle`] published: how many cores took it, and which did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "a core whose mailbox is full goes without"]
#[non_exhaustive]
pub struct Posted {
    /// It is in their mailboxes.
    pub taken: u32,
    /// Their mailboxes are full, and their subscribers go without ([`Self::full_places`]). Each counts it ([`Stats::mail_refused`]).
    pub full: u32,
    /// They have ended or failed, and have no subscribers any more.
    pub gone: u32,
    /// A bit for each place whose mailbox is full.
    full_at: [u64; Place::COUNT_MAX / 64],
}

impl Posted {
    /// No core went without that still runs. Cores that have ended or failed ([`Self::gone`]) do not count, also if that is all of them.
    pub fn is_everywhere(self) -> bool {
        self.full == 0
    }

    /// The places of the cores whose mailboxes are full, in order.
    pub fn full_places(self) -> impl Iterator<Item = Place> {
        Place::first(Place::COUNT_MAX).filter(move |place| {
            let (word, bit) = bit_of(*place);
            self.full_at[word] & bit != 0
        })
    }

    fn note_full(&mut self, place: Place) {
        let (word, bit) = bit_of(place);
        self.full_at[word] |= bit;
        self.full += 1;
    }
}

/// Where a place is noted.
fn bit_of(place: Place) -> (usize, u64) {
    (place.index() / 64, 1 << (place.index() % 64))
}

/// What a callback sends to cores, its own among them.
impl<H: Handler> CoreCx<'_, H> {
    /// Reaches every core, also from other threads: clone it for them.
    pub fn handle(&self) -> &Handle<H::Mail> {
        self.any_handle().downcast_ref().expect("a core is made with a handle of its handler's mail")
    }

    /// Sends to a core, as [`Handle::mail`] does. To this one as well: that comes in a later pass.
    ///
    /// # Errors
    /// [`MailError`], with the mail.
    ///
    /// # Panics
    /// If there is no such core.
    pub fn mail(&self, to: Place, mail: H::Mail) -> Result<(), MailError<H::Mail>> {
        self.handle().mail(to, mail)
    }
}

/// What the factory of handlers is told of the core that it makes one for.
#[non_exhaustive]
pub struct CoreInfo<M = ()> {
    /// The core's place in the list of cores.
    pub place: Place,
    /// The CPU that the core's thread is pinned to; if it is not ([`Config::pinned`](crate::Config::pinned)), the one that it would be.
    pub cpu: Cpu,
    /// How many cores there are.
    pub cores: usize,
    /// Reaches every core, those too that do not run yet.
    pub handle: Handle<M>,
}

impl<M> Clone for CoreInfo<M> {
    fn clone(&self) -> Self {
        Self { handle: self.handle.clone(), ..*self }
    }
}

impl<M> fmt::Debug for CoreInfo<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoreInfo")
            .field("place", &self.place)
            .field("cpu", &self.cpu)
            .field("cores", &self.cores)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn of<M>(first: u8, cores: usize) -> Handle<M> {
        Handle::new(Place::new(first), (0..cores).map(|_| Member::new(Bell::new(|| ()), 2)), Arc::new(Names::new(1)))
    }

    /// Whatever mail is: a handle goes to any thread.
    #[test]
    fn a_handle_of_any_mail_is_for_any_thread() {
        fn needs<T: Clone + Send + Sync + fmt::Debug>(_: &T) {}
        let handle = of::<Cell<u8>>(0, 2);
        needs(&handle);
        let places: Vec<_> = handle.places().map(Place::index).collect();
        assert_eq!((handle.cores(), places), (2, vec![0, 1]));
        needs(&CoreInfo { place: Place::new(1), cpu: Cpu::new(0), cores: 2, handle });
    }

    /// A handle of one core that has another place than the first.
    #[test]
    fn cores_are_found_by_their_places() {
        let handle = of::<u8>(3, 1);
        assert_eq!(handle.places().collect::<Vec<_>>(), [Place::new(3)]);
        let id = |place| ConnId::new(Place::new(place), 1, 1);
        for place in [0, 2, 4] {
            assert!(matches!(handle.send(id(place), "nobody's".to_owned()), Err(MailError::Gone(_))));
            assert_eq!(handle.close(id(place), CloseCode::NORMAL, ""), Err(MailError::Gone(())));
        }
        assert_eq!(handle.mail(Place::new(3), 7), Ok(()));
        assert!(handle.send(id(3), "second".to_owned()).is_ok());
        assert_eq!(handle.mail(Place::new(3), 8), Err(MailError::Full(8)));
        assert_eq!(handle.close(id(3), CloseCode::NORMAL, ""), Err(MailError::Full(())));
        let full = handle.send(id(3), "third".to_owned()).expect_err("there is room for two").into_inner();
        assert_eq!(full, OwnedMessage::from("third".to_owned()));
        let topic = handle.topic("news").expect("there is room for one");
        let full = handle.publish_on(Place::new(3), topic, Publish::default(), "fourth".to_owned());
        assert_eq!(full, Err(MailError::Full(OwnedMessage::from("fourth".to_owned()))));
    }

    /// A core whose mailbox is full goes without what is published, the others do not; the memory is one.
    #[test]
    fn what_is_published_goes_to_each_core_that_has_room() {
        let handle = of::<u8>(0, 3);
        let topic = handle.topic("news").expect("there is room for one");
        assert_eq!((handle.mail(Place::new(1), 1), handle.mail(Place::new(1), 2)), (Ok(()), Ok(())));
        drop(handle.member(Place::new(2)).reader());
        let bytes = bytes::Bytes::from(vec![7; 100]);
        let posted = handle.publish_keyed(topic, 5, bytes.clone());
        assert_eq!(counts(posted), (1, 1, 1, vec![Place::new(1)]));
        assert!(!posted.is_everywhere());
        assert_eq!(counts(handle.remove_key(topic, 5, "away")), (1, 1, 1, vec![Place::new(1)]));
        let reader = handle.member(Place::new(0)).reader();
        let Some(Letter::Publish(to, how, message)) = reader.take() else { panic!("it was published") };
        assert_eq!((to, how), (topic, Publish::keyed(5)));
        assert_eq!(message.as_bytes().as_ptr(), bytes.as_ptr(), "it was copied");
        let Some(Letter::Publish(_, how, message)) = reader.take() else { panic!("it was published") };
        assert_eq!((how, message), (Publish::keyed(5).removes(), OwnedMessage::from("away")));
        let stats = |place| handle.member(Place::new(place)).mailbox.refused();
        assert_eq!([stats(0), stats(1), stats(2)], [0, 2, 0]);
    }

    fn counts(posted: Posted) -> (u32, u32, u32, Vec<Place>) {
        (posted.taken, posted.full, posted.gone, posted.full_places().collect())
    }

    /// Each of the most that there may be, and a handle of one core that has another place than the first.
    #[test]
    fn a_full_mailbox_is_named_by_its_place() {
        for (first, cores) in [(0, 256), (130, 1)] {
            let handle = of::<u8>(first, cores);
            let topic = handle.topic("news").expect("there is room for one");
            for place in handle.places().filter(|place| place.index() % 3 == 1) {
                while handle.mail(place, 1).is_ok() {}
            }
            let full: Vec<Place> = handle.places().filter(|place| place.index() % 3 == 1).collect();
            let posted = counts(handle.publish(topic, "to all"));
            assert_eq!(posted, ((cores - full.len()) as u32, full.len() as u32, 0, full));
        }
    }

    #[test]
    #[should_panic(expected = "there is no core 2")]
    fn mail_to_no_core_is_a_fault_of_the_caller() {
        let _ = of::<u8>(0, 2).mail(Place::new(2), 7);
    }
}
