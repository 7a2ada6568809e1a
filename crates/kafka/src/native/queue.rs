//! One partition's own queue of a consumer: what was fetched ahead of it, taken
//! without a copy and in the order in which it lies there, with the offset at
//! which a partition ended, which `rdkafka` hides.
//!
//! Not here: positions, limits and turns, which `positions` has. Every block says
//! why it is sound. Three facts serve all of them: a [`PartitionQueue`] holds its
//! consumer, so that the `rd_kafka_t` lives; messages are destroyed before queue
//! and consumer are; and what is read out of a message is borrowed from the queue
//! that holds it.

#![expect(unsafe_code, reason = "calls into librdkafka's C API that its Rust binding does not wrap")]

use std::{
    ffi::{CStr, CString, c_void},
    ptr, slice,
    sync::Arc,
    time::Duration,
};

use rdkafka::{TopicPartitionList, consumer::Consumer as _, error::RDKafkaErrorCode as Code};
use rdkafka_sys::bindings as c;

use crate::consumer::{Bell, Handle};

/// The queue of one partition, and the event that was taken out of it to be looked
/// at. One at a time: librdkafka's call for many counts the end of a partition as
/// a record, and would leave out the next one after a rebalance; and its call for
/// one keeps to itself that a topic is gone.
pub(crate) struct PartitionQueue {
    head: Option<Head>,
    queue: *mut c::rd_kafka_queue_t,
    /// A list of this one partition, to ask for its position with.
    place: *mut c::rd_kafka_topic_partition_list_t,
    /// The topic, where the partition is read by assignment without a group.
    topic: *mut c::rd_kafka_topic_t,
    partition: i32,
    consumer: Arc<Handle>,
    /// What is rung when something comes into the empty queue.
    bell: Arc<Bell>,
}

// SAFETY: librdkafka's objects may be used from any thread, and this one is used
// by one thread at a time.
unsafe impl Send for PartitionQueue {}

/// What lies next in a partition.
pub(crate) enum Next<'a> {
    /// A record.
    Record(Found<'a>),
    /// All was read that there is up to this offset.
    End(u64),
    /// Reading failed; it is known whether librdkafka goes on by itself.
    Failed(Code),
}

/// A record in librdkafka's memory.
pub(crate) struct Found<'a> {
    pub(crate) offset: u64,
    pub(crate) timestamp_ms: i64,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    message: &'a Message,
}

impl PartitionQueue {
    /// The queue of a partition, apart from the others of the consumer from now
    /// on. The bell rings when something comes into it while it is empty.
    pub(crate) fn of(consumer: &Arc<Handle>, topic: &str, partition: i32, bell: &Arc<Bell>) -> Option<Self> {
        let name = CString::new(topic).ok()?;
        let rk = consumer.client().native_ptr();
        // SAFETY: consumer and name live, and the name is copied. What is made is
        // destroyed on drop. The bell lives until the callback is taken away, which
        // waits for a call that runs, since both hold the queue's lock.
        unsafe {
            let queue = c::rd_kafka_queue_get_partition(rk, name.as_ptr(), partition);
            if queue.is_null() {
                return None;
            }
            c::rd_kafka_queue_forward(queue, ptr::null_mut());
            c::rd_kafka_queue_cb_event_enable(queue, Some(ring), Arc::as_ptr(bell).cast_mut().cast::<c_void>());
            let place = c::rd_kafka_topic_partition_list_new(1);
            c::rd_kafka_topic_partition_list_add(place, name.as_ptr(), partition);
            let (topic, consumer, bell) = (ptr::null_mut(), Arc::clone(consumer), Arc::clone(bell));
            Some(Self { head: None, queue, place, topic, partition, consumer, bell })
        }
    }

    /// Reads the partition from an offset, without a group, until the consumer ends.
    /// To be called once: librdkafka's call that ends it waits without end where the
    /// topic is gone.
    pub(crate) fn start(&mut self, offset: u64) -> Result<(), Code> {
        let offset = i64::try_from(offset).map_err(|_| Code::InvalidArgument)?;
        // SAFETY: the consumer lives, and so does the name, which is the list's; the
        // topic is destroyed on drop.
        unsafe {
            let name = (*(*self.place).elems).topic;
            self.topic = c::rd_kafka_topic_new(self.consumer.client().native_ptr(), name, ptr::null_mut());
            if self.topic.is_null() || c::rd_kafka_consume_start(self.topic, self.partition, offset) != 0 {
                return Err(Code::from(c::rd_kafka_last_error()));
            }
        }
        Ok(())
    }

    /// Forgets what was taken out of the queue already.
    pub(crate) fn forget(&mut self) {
        self.head = None;
    }

    /// What lies next, without taking it; none where nothing was fetched.
    pub(crate) fn next(&mut self) -> Option<Next<'_>> {
        if self.head.is_none() {
            self.head = self.pull();
        }
        let message = match self.head.as_ref()? {
            Head::Message(message) => message,
            Head::End(offset) => return Some(Next::End(*offset)),
            Head::Failed(code) => return Some(Next::Failed(*code)),
        };
        // SAFETY: the message is whole until it is destroyed, which needs `self`
        // mutably; key and value are as long as it says.
        unsafe {
            let raw = &*message.message;
            Some(match Code::from(raw.err) {
                Code::NoError => Next::Record(Found {
                    offset: u64::try_from(raw.offset).unwrap_or(0),
                    timestamp_ms: c::rd_kafka_message_timestamp(message.message, ptr::null_mut()),
                    key: bytes(raw.key, raw.key_len),
                    value: bytes(raw.payload, raw.len),
                    message,
                }),
                code => Next::Failed(code),
            })
        }
    }

    /// Takes the next event out of the queue.
    fn pull(&self) -> Option<Head> {
        loop {
            // SAFETY: the queue lives. An event that comes is ours: it is destroyed
            // here, or with the message that it holds.
            unsafe {
                let event = c::rd_kafka_queue_poll(self.queue, 0);
                if event.is_null() {
                    return None;
                }
                match c::rd_kafka_event_type(event) {
                    c::RD_KAFKA_EVENT_FETCH => {
                        let message = c::rd_kafka_event_message_next(event);
                        if !message.is_null() {
                            return Some(Head::Message(Message { event, message }));
                        }
                        c::rd_kafka_event_destroy(event);
                    }
                    c::RD_KAFKA_EVENT_ERROR => return Some(failure(event)),
                    _ => c::rd_kafka_event_destroy(event),
                }
            }
        }
    }

    /// Takes what lies next away.
    pub(crate) fn pop(&mut self) {
        self.head = None;
    }

    /// The end of the partition as the brokers' last answer told it, what is not
    /// committed yet included; none where none came. Nothing is asked.
    pub(crate) fn end(&self) -> Option<u64> {
        let (mut low, mut high) = (0, 0);
        // SAFETY: consumer and list live, and the name is the list's; both numbers are
        // written before it returns.
        let code = unsafe {
            let name = (*(*self.place).elems).topic;
            let rk = self.consumer.client().native_ptr();
            c::rd_kafka_get_watermark_offsets(rk, name, self.partition, &raw mut low, &raw mut high)
        };
        (Code::from(code) == Code::NoError).then(|| u64::try_from(high).ok()).flatten()
    }

    /// Up to where all was taken, markers of transactions and aborted records
    /// included; none where that is not known.
    pub(crate) fn taken_to(&mut self) -> Option<u64> {
        if self.head.is_some() {
            return None;
        }
        // SAFETY: consumer and list live, and the list has this one entry.
        unsafe {
            c::rd_kafka_position(self.consumer.client().native_ptr(), self.place);
            u64::try_from((*(*self.place).elems).offset).ok()
        }
    }
}

impl Drop for PartitionQueue {
    fn drop(&mut self) {
        self.forget();
        // SAFETY: all were made by `of` and `start`, and nobody else holds them. The
        // callback is taken away first, and the bell lives until after that.
        unsafe {
            c::rd_kafka_queue_cb_event_enable(self.queue, None, ptr::null_mut());
            if !self.topic.is_null() {
                c::rd_kafka_topic_destroy(self.topic);
            }
            c::rd_kafka_queue_destroy(self.queue);
            c::rd_kafka_topic_partition_list_destroy(self.place);
        }
        let _ = &self.bell;
    }
}

impl Found<'_> {
    /// Each header in order: its name and its value, where it has one.
    pub(crate) fn headers(&self, mut each: impl FnMut(&[u8], Option<&[u8]>)) {
        let mut headers = ptr::null_mut();
        // SAFETY: the message lives, and its headers with it; names are C strings,
        // values as long as is said.
        unsafe {
            if Code::from(c::rd_kafka_message_headers(self.message.message, &raw mut headers)) != Code::NoError {
                return;
            }
            for index in 0.. {
                let (mut name, mut value, mut len) = (ptr::null(), ptr::null(), 0);
                let code = c::rd_kafka_header_get_all(headers, index, &raw mut name, &raw mut value, &raw mut len);
                if Code::from(code) != Code::NoError {
                    return;
                }
                each(CStr::from_ptr(name).to_bytes(), bytes(value, len));
            }
        }
    }
}

/// The member's id and generation as of now; none where it has no seat.
pub(crate) fn seat(consumer: &Handle) -> Option<(String, i32)> {
    // SAFETY: the consumer lives; what is returned is ours, and destroyed here after
    // the text was copied out of it.
    unsafe {
        let metadata = c::rd_kafka_consumer_group_metadata(consumer.client().native_ptr());
        if metadata.is_null() {
            return None;
        }
        let generation = c::rd_kafka_consumer_group_metadata_generation_id(metadata);
        let member = CStr::from_ptr(c::rd_kafka_consumer_group_metadata_member_id(metadata));
        let member = member.to_string_lossy().into_owned();
        c::rd_kafka_consumer_group_metadata_destroy(metadata);
        (generation >= 0 && !member.is_empty()).then_some((member, generation))
    }
}

/// Commits offsets of the group and waits for the answer, no longer than is given.
/// With no coordinator in sight, librdkafka's own call would wait for a session.
pub(crate) fn commit(consumer: &Handle, offsets: &TopicPartitionList, longest: Duration) -> Result<(), Code> {
    let rk = consumer.client().native_ptr();
    // SAFETY: consumer and list live, and the list is copied. Queue and event are
    // ours, and destroyed here; an answer that comes later finds no queue and goes.
    unsafe {
        let queue = c::rd_kafka_queue_new(rk);
        let code = Code::from(c::rd_kafka_commit_queue(rk, offsets.ptr(), queue, None, ptr::null_mut()));
        let code = if code == Code::NoError {
            let event = c::rd_kafka_queue_poll(queue, i32::try_from(longest.as_millis()).unwrap_or(i32::MAX));
            if event.is_null() { Code::OperationTimedOut } else { commit_code(event) }
        } else {
            code
        };
        c::rd_kafka_queue_destroy(queue);
        if code == Code::NoError { Ok(()) } else { Err(code) }
    }
}

/// What a commit came to: its own error, or the first of a partition's.
///
/// # Safety
/// The event is ours and the answer to a commit.
unsafe fn commit_code(event: *mut c::rd_kafka_event_t) -> Code {
    // SAFETY: as the caller says; the list belongs to the event.
    unsafe {
        let mut code = Code::from(c::rd_kafka_event_error(event));
        let list = c::rd_kafka_event_topic_partition_list(event);
        if code == Code::NoError && !list.is_null() && !(*list).elems.is_null() {
            let places = slice::from_raw_parts((*list).elems, usize::try_from((*list).cnt).unwrap_or(0));
            code = places.iter().map(|place| Code::from(place.err)).find(|it| *it != Code::NoError).unwrap_or(code);
        }
        c::rd_kafka_event_destroy(event);
        code
    }
}

/// What was taken out of a queue.
enum Head {
    Message(Message),
    End(u64),
    Failed(Code),
}

/// A message, and the event that is ours and holds it.
struct Message {
    event: *mut c::rd_kafka_event_t,
    message: *const c::rd_kafka_message_t,
}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: taken from a queue by `pull`, and nobody else holds it; the message
        // goes with it.
        unsafe { c::rd_kafka_event_destroy(self.event) };
    }
}

/// What an event tells that is an error, and be it the end of a partition.
///
/// # Safety
/// The event is an error, and ours.
unsafe fn failure(event: *mut c::rd_kafka_event_t) -> Head {
    // SAFETY: as the caller says; the place is made for us and destroyed here.
    unsafe {
        let code = Code::from(c::rd_kafka_event_error(event));
        let place = c::rd_kafka_event_topic_partition(event);
        let offset = if place.is_null() { -1 } else { (*place).offset };
        if !place.is_null() {
            c::rd_kafka_topic_partition_destroy(place);
        }
        c::rd_kafka_event_destroy(event);
        match code {
            Code::PartitionEOF => Head::End(u64::try_from(offset).unwrap_or(0)),
            code => Head::Failed(code),
        }
    }
}

/// # Safety
/// The pointer is null or to so many bytes, which live as long as is asked for.
unsafe fn bytes<'a>(from: *const c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: as the caller says.
    (!from.is_null()).then(|| unsafe { slice::from_raw_parts(from.cast::<u8>(), len) })
}

/// Called by librdkafka when something comes into an empty queue.
unsafe extern "C" fn ring(_: *mut c::rd_kafka_t, bell: *mut c_void) {
    // SAFETY: `of` gave a bell that lives until this callback is taken away.
    unsafe { &*bell.cast::<Bell>() }.ring();
}
