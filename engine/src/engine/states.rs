//! Owns the application's states of connections, by the index of their slots: apart from all else that is known of a connection, so that a
//! callback that has a message of one connection can reach the state of any.
//!
//! Promises that a state is there from before `on_open` until `on_close`, which is given it. Refuses to know what a state is.

/// The states of a core's connections.
pub(crate) struct States<C> {
    table: Vec<Option<C>>,
}

impl<C> States<C> {
    /// The table never moves: there is room for all slots.
    pub(crate) fn new(slots: usize) -> Self {
        Self { table: Vec::with_capacity(slots) }
    }

    /// A connection opens.
    pub(crate) fn begin(&mut self, index: u32, state: C) {
        let index = index as usize;
        if self.table.len() <= index {
            self.table.resize_with(index + 1, || None);
        }
        let former = self.table[index].replace(state);
        assert!(former.is_none(), "slot {index} has the state of a connection that has not ended");
    }

    /// A connection ends.
    pub(crate) fn end(&mut self, index: u32) -> Option<C> {
        self.table.get_mut(index as usize).and_then(Option::take)
    }

    pub(crate) fn has(&self, index: u32) -> bool {
        self.table.get(index as usize).is_some_and(Option::is_some)
    }

    /// The state of an open connection, outside of callbacks.
    #[cfg(feature = "testing")]
    pub(crate) fn look(&self, index: u32) -> Option<&C> {
        self.table.get(index as usize)?.as_ref()
    }
}

/// What one callback is lent of the states.
pub(crate) enum Lent<'a, C> {
    All(&'a mut States<C>),
    /// All but that of one connection, which is lent by itself: those of lower indices, and those of higher ones.
    But(&'a mut [Option<C>], &'a mut [Option<C>]),
    /// Those of two are lent by themselves: no other can be reached.
    None,
}

impl<C> Lent<'_, C> {
    /// For a shorter time.
    #[inline]
    pub(crate) fn reborrow(&mut self) -> Lent<'_, C> {
        match self {
            Lent::All(states) => Lent::All(states),
            Lent::But(below, above) => Lent::But(below, above),
            Lent::None => Lent::None,
        }
    }

    /// The state of an open connection, unless it is lent by itself.
    #[inline]
    pub(crate) fn get(&mut self, index: u32) -> Option<&mut C> {
        let index = index as usize;
        match self {
            Lent::All(states) => states.table.get_mut(index)?.as_mut(),
            Lent::But(below, above) => match index.checked_sub(below.len()) {
                None => below[index].as_mut(),
                Some(0) => None,
                Some(behind) => above.get_mut(behind - 1)?.as_mut(),
            },
            Lent::None => None,
        }
    }

    /// The state of an open connection, and those of the others.
    pub(crate) fn split(&mut self, index: u32) -> Option<(&mut C, Lent<'_, C>)> {
        match self {
            Lent::All(states) => {
                let (below, rest) = states.table.split_at_mut_checked(index as usize)?;
                let (own, above) = rest.split_first_mut()?;
                Some((own.as_mut()?, Lent::But(below, above)))
            }
            both => Some((both.get(index)?, Lent::None)),
        }
    }

    /// One past the highest index in use.
    pub(crate) fn end(&self) -> u32 {
        let len = match self {
            Lent::All(states) => states.table.len(),
            Lent::But(below, above) => below.len() + 1 + above.len(),
            Lent::None => 0,
        };
        len as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(states: &[u32]) -> States<u32> {
        let mut table = States::new(8);
        states.iter().for_each(|&state| table.begin(state, state));
        table
    }

    fn seen(lent: &mut Lent<'_, u32>) -> Vec<u32> {
        (0..lent.end() + 2).filter_map(|index| lent.get(index).copied()).collect()
    }

    #[test]
    fn each_state_is_found_by_its_index_alone() {
        let mut states = of(&[0, 2, 3, 6]);
        assert_eq!(seen(&mut Lent::All(&mut states)), [0, 2, 3, 6]);
        assert_eq!((states.end(2), states.end(2), states.end(4), states.end(99)), (Some(2), None, None, None));
        assert!(states.has(3) && !states.has(2) && !states.has(99));
        assert_eq!(seen(&mut Lent::All(&mut states)), [0, 3, 6]);
    }

    // Whichever is lent by itself, all others are found, and it is not; a second one lent leaves none.
    #[test]
    fn who_has_one_state_apart_finds_the_others() {
        let all = [0, 2, 3, 6];
        for own in all {
            let mut states = of(&all);
            let mut lent = Lent::All(&mut states);
            let (state, mut others) = lent.split(own).unwrap();
            *state += 100;
            assert_eq!(seen(&mut others), all.iter().copied().filter(|&other| other != own).collect::<Vec<_>>());
            assert_eq!(seen(&mut others.reborrow()), seen(&mut others));
            assert!(others.split(own).is_none());
            let another = all[(own as usize + 1) % 2];
            if another != own {
                let (second, mut none) = others.split(another).unwrap();
                assert_eq!((*second, seen(&mut none)), (another, vec![]));
            }
            assert_eq!(lent.get(own).copied(), Some(own + 100));
        }
        let mut states = of(&all);
        for nobody in [1, 4, 7, 100] {
            assert!(Lent::All(&mut states).split(nobody).is_none());
        }
    }

    #[test]
    #[should_panic(expected = "slot 3 has the state")]
    fn a_slot_has_one_state() {
        let mut states = of(&[3]);
        states.begin(3, 4);
    }
}
