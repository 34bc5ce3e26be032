//! Who waits for the next bytes, on whichever runtime.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Wake, Waker},
};

/// Wakers by the readers' places. As a waker itself it is the source's: what the source has to say is for
/// all who wait, for the one who asked it last may be gone.
#[derive(Default)]
pub struct Bell {
    waiting: Mutex<Vec<Option<Waker>>>,
}

impl Bell {
    /// From now on the reader is woken; once.
    pub fn wait(&self, place: usize, waker: &Waker) {
        let mut waiting = self.waiting();
        if waiting.len() <= place {
            waiting.resize(place + 1, None);
        }
        waiting[place] = Some(waker.clone());
    }

    /// Wakes all who wait, but for the reader that rings.
    pub fn ring(&self, own: Option<usize>) {
        let mut waiting = self.waiting();
        let own = own.and_then(|own| waiting.get_mut(own)?.take());
        let others: smallvec::SmallVec<[Waker; 4]> = waiting.iter_mut().filter_map(Option::take).collect();
        // Outside the lock: a waker that goes may be the last hold on a reader, which comes here.
        drop(waiting);
        drop(own);
        others.into_iter().for_each(Waker::wake);
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Option<Waker>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring(None);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring(None);
    }
}
