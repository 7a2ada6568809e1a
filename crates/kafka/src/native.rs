//! Questions to the cluster that librdkafka can ask and `rdkafka` does not wrap:
//! many offsets at once, offsets of groups without being a member, changing some
//! properties of a topic without resetting the others, and access rights.
//!
//! Each is a safe function that submits one request with a queue of its own, waits
//! for its one answer and copies what it needs out of it.
//!
//! Not here: what the answers mean. This file and `queue` below it are the only
//! ones of the crate with unsafe code; every block says why it is sound. Three
//! facts serve all of them: a `Client` keeps its `rd_kafka_t` alive as long as it
//! is borrowed; librdkafka copies all that a request is given before the call
//! returns; and what is read out of an answer belongs to the event and lives until
//! that is destroyed.

#![expect(unsafe_code, reason = "calls into librdkafka's C API that its Rust binding does not wrap")]

use std::{
    ffi::{CStr, CString, c_char, c_int},
    ptr, slice,
    time::Duration,
};

use rdkafka::{
    ClientContext, Offset, TopicPartitionList,
    client::Client,
    error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code},
};
use rdkafka_sys::bindings as c;

pub(crate) mod queue;

/// What librdkafka waits beyond the time a request may take, before it answers
/// that it ran out.
const GRACE: Duration = Duration::from_secs(1);
/// What librdkafka is told that a request to a group's coordinator may take: the
/// most it accepts. Up to 2.12 it aborts the process when such a request has run out
/// of time before the coordinator was found and it is found then
/// (confluentinc/librdkafka#4605). We do not wait so long: who asks is answered after
/// the time he gave, and what comes later is dropped.
const COORDINATOR_MAX: Duration = Duration::from_secs(3600);
/// Room for the text of an error.
const TEXT_BYTES: usize = 512;

/// A request that was refused as a whole, or for one thing it named.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) code: Code,
    pub(crate) text: String,
}

impl From<KafkaError> for Refusal {
    fn from(error: KafkaError) -> Self {
        let code = crate::error::code_of(&error).unwrap_or(Code::Fail);
        Self { code, text: error.to_string() }
    }
}

impl From<std::ffi::NulError> for Refusal {
    fn from(error: std::ffi::NulError) -> Self {
        Self { code: Code::InvalidArgument, text: error.to_string() }
    }
}

/// A topic's name, a partition and an offset that was found, or why not.
pub(crate) type Found = (String, i32, Result<i64, Code>);

/// Whether a partition was refused with such a code.
pub(crate) fn has_code(found: &Found, is_such: fn(Code) -> bool) -> bool {
    found.2.as_ref().is_err_and(|code| is_such(*code))
}

/// The offsets that a list asks for (`Beginning`, `End`, or a time in ms given as
/// `Offset`), all partitions at once. −1 where no record is as young as a time.
/// With `committed`, the end is that of what is committed.
pub(crate) fn list_offsets<C: ClientContext>(
    client: &Client<C>,
    wanted: &[(&str, i32, Offset)],
    committed: bool,
    timeout: Duration,
) -> Result<Vec<Found>, Refusal> {
    let list = partition_list(wanted)?;
    let options = Options::new(client, c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS, timeout)?;
    let level = if committed {
        c::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED
    } else {
        c::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED
    };
    // SAFETY: the options live; an error that is returned is ours to destroy.
    unsafe { take_error(c::rd_kafka_AdminOptions_set_isolation_level(options.0, level)) }?;
    // SAFETY: client, list, options and queue live during the call.
    let event = ask(client, timeout, |queue| unsafe {
        c::rd_kafka_ListOffsets(client.native_ptr(), list.ptr(), options.0, queue);
    })?;
    // SAFETY: the event is the answer to ListOffsets, so it holds this result; the
    // array has `count` entries, which live as long as the event.
    unsafe {
        let mut count = 0;
        let infos = c::rd_kafka_ListOffsets_result_infos(c::rd_kafka_event_ListOffsets_result(event.0), &raw mut count);
        let found = |info: &*const _| found(&*c::rd_kafka_ListOffsetsResultInfo_topic_partition(*info));
        Ok(entries(infos, count).iter().map(found).collect())
    }
}

/// The committed offsets of a group, of all partitions that it committed.
pub(crate) fn group_offsets<C: ClientContext>(
    client: &Client<C>,
    group: &str,
    timeout: Duration,
) -> Result<Vec<Found>, Refusal> {
    let name = CString::new(group)?;
    let options =
        Options::new(client, c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS, COORDINATOR_MAX)?;
    // Offsets of a transaction that is ending are waited for.
    // SAFETY: the options live; an error that is returned is ours to destroy.
    unsafe { take_error(c::rd_kafka_AdminOptions_set_require_stable_offsets(options.0, 1)) }?;
    // SAFETY: the name lives; no list of partitions asks for all. Destroyed below.
    let request = unsafe { c::rd_kafka_ListConsumerGroupOffsets_new(name.as_ptr(), ptr::null()) };
    let mut requests = [request];
    // SAFETY: client, request, options and queue live during the call.
    let event = ask(client, timeout, |queue| unsafe {
        c::rd_kafka_ListConsumerGroupOffsets(client.native_ptr(), requests.as_mut_ptr(), 1, options.0, queue);
    });
    // SAFETY: it was made above and librdkafka keeps a copy.
    unsafe { c::rd_kafka_ListConsumerGroupOffsets_destroy(request) };
    let event = event?;
    // SAFETY: the event is the answer to ListConsumerGroupOffsets.
    unsafe {
        let mut count = 0;
        let result = c::rd_kafka_event_ListConsumerGroupOffsets_result(event.0);
        let groups = c::rd_kafka_ListConsumerGroupOffsets_result_groups(result, &raw mut count);
        group_result(groups, count)
    }
}

/// Sets committed offsets of a group without members.
pub(crate) fn alter_group_offsets<C: ClientContext>(
    client: &Client<C>,
    group: &str,
    offsets: &[(&str, i32, Offset)],
    timeout: Duration,
) -> Result<Vec<Found>, Refusal> {
    let name = CString::new(group)?;
    let list = partition_list(offsets)?;
    let options =
        Options::new(client, c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_ALTERCONSUMERGROUPOFFSETS, COORDINATOR_MAX)?;
    // SAFETY: name and list live and are copied. Destroyed below.
    let request = unsafe { c::rd_kafka_AlterConsumerGroupOffsets_new(name.as_ptr(), list.ptr()) };
    let mut requests = [request];
    // SAFETY: client, request, options and queue live during the call.
    let event = ask(client, timeout, |queue| unsafe {
        c::rd_kafka_AlterConsumerGroupOffsets(client.native_ptr(), requests.as_mut_ptr(), 1, options.0, queue);
    });
    // SAFETY: it was made above and librdkafka keeps a copy.
    unsafe { c::rd_kafka_AlterConsumerGroupOffsets_destroy(request) };
    let event = event?;
    // SAFETY: the event is the answer to AlterConsumerGroupOffsets.
    unsafe {
        let mut count = 0;
        let result = c::rd_kafka_event_AlterConsumerGroupOffsets_result(event.0);
        let groups = c::rd_kafka_AlterConsumerGroupOffsets_result_groups(result, &raw mut count);
        group_result(groups, count)
    }
}

/// Sets these properties of topics, and leaves all others as they are.
pub(crate) fn alter_topics<C: ClientContext>(
    client: &Client<C>,
    topics: &[(String, Vec<(&str, String)>)],
    timeout: Duration,
) -> Result<(), Refusal> {
    let op = c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_INCREMENTALALTERCONFIGS;
    let options = Options::new(client, op, timeout)?;
    let mut resources = Resources(Vec::with_capacity(topics.len()));
    for (topic, properties) in topics {
        let name = CString::new(topic.as_str())?;
        // SAFETY: the name lives and is copied; `Resources` destroys what is made.
        let resource = unsafe {
            c::rd_kafka_ConfigResource_new(c::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC, name.as_ptr())
        };
        resources.0.push(resource);
        for (key, value) in properties {
            let (key, value) = (CString::new(*key)?, CString::new(value.as_str())?);
            let set = c::rd_kafka_AlterConfigOpType_t::RD_KAFKA_ALTER_CONFIG_OP_TYPE_SET;
            // SAFETY: resource, key and value live; both texts are copied.
            unsafe {
                take_error(c::rd_kafka_ConfigResource_add_incremental_config(
                    resource,
                    key.as_ptr(),
                    set,
                    value.as_ptr(),
                ))?;
            }
        }
    }
    let count = resources.0.len();
    // SAFETY: client, resources, options and queue live during the call.
    let event = ask(client, timeout, |queue| unsafe {
        let resources = resources.0.as_mut_ptr();
        c::rd_kafka_IncrementalAlterConfigs(client.native_ptr(), resources, count, options.0, queue);
    })?;
    // SAFETY: the event is the answer to IncrementalAlterConfigs; the array has
    // `count` entries, which live as long as the event.
    unsafe {
        let mut count = 0;
        let result = c::rd_kafka_event_IncrementalAlterConfigs_result(event.0);
        let answers = c::rd_kafka_IncrementalAlterConfigs_result_resources(result, &raw mut count);
        for answer in entries(answers, count) {
            let code = Code::from(c::rd_kafka_ConfigResource_error(*answer));
            if code != Code::NoError {
                let topic = text(c::rd_kafka_ConfigResource_name(*answer));
                let why = text(c::rd_kafka_ConfigResource_error_string(*answer));
                return Err(Refusal { code, text: format!("topic `{topic}`: {why}") });
            }
        }
    }
    Ok(())
}

/// A right to be given: Kafka's own numbers of what and whether by prefix.
pub(crate) struct Binding<'a> {
    pub(crate) resource: c::rd_kafka_ResourceType_t,
    pub(crate) name: &'a str,
    pub(crate) is_prefix: bool,
    pub(crate) principal: &'a str,
    pub(crate) host: &'a str,
    pub(crate) operation: c::rd_kafka_AclOperation_t,
}

/// Gives rights; one that is there already stays.
pub(crate) fn create_acls<C: ClientContext>(
    client: &Client<C>,
    bindings: &[Binding<'_>],
    timeout: Duration,
) -> Result<Vec<Result<(), Refusal>>, Refusal> {
    let options = Options::new(client, c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_CREATEACLS, timeout)?;
    let mut acls = Acls(Vec::with_capacity(bindings.len()));
    for binding in bindings {
        acls.0.push(acl(binding)?);
    }
    let count = acls.0.len();
    // SAFETY: client, bindings, options and queue live during the call.
    let event = ask(client, timeout, |queue| unsafe {
        c::rd_kafka_CreateAcls(client.native_ptr(), acls.0.as_mut_ptr(), count, options.0, queue);
    })?;
    // SAFETY: the event is the answer to CreateAcls; the array has `count` entries,
    // and the errors in it belong to the event.
    unsafe {
        let mut count = 0;
        let answers = c::rd_kafka_CreateAcls_result_acls(c::rd_kafka_event_CreateAcls_result(event.0), &raw mut count);
        Ok(entries(answers, count).iter().map(|answer| seen_error(c::rd_kafka_acl_result_error(*answer))).collect())
    }
}

fn acl(binding: &Binding<'_>) -> Result<*mut c::rd_kafka_AclBinding_t, Refusal> {
    use c::{
        rd_kafka_AclPermissionType_t::RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW as ALLOW,
        rd_kafka_ResourcePatternType_t::{
            RD_KAFKA_RESOURCE_PATTERN_LITERAL as LITERAL, RD_KAFKA_RESOURCE_PATTERN_PREFIXED as PREFIXED,
        },
    };
    let pattern = if binding.is_prefix { PREFIXED } else { LITERAL };
    let name = CString::new(binding.name)?;
    let principal = CString::new(binding.principal)?;
    let host = CString::new(binding.host)?;
    let mut why = [0 as c_char; TEXT_BYTES];
    // SAFETY: the texts live and are copied; the buffer is as long as is said, and
    // is ended by a zero byte.
    unsafe {
        let acl = c::rd_kafka_AclBinding_new(
            binding.resource,
            name.as_ptr(),
            pattern,
            principal.as_ptr(),
            host.as_ptr(),
            binding.operation,
            ALLOW,
            why.as_mut_ptr(),
            why.len(),
        );
        if acl.is_null() {
            return Err(Refusal { code: Code::InvalidArgument, text: text(why.as_ptr()) });
        }
        Ok(acl)
    }
}

/// Submits a request with a queue of its own and waits for its answer.
fn ask<C: ClientContext>(
    client: &Client<C>,
    timeout: Duration,
    submit: impl FnOnce(*mut c::rd_kafka_queue_t),
) -> Result<Event, Refusal> {
    // SAFETY: the client lives; `Queue` destroys what is made.
    let queue = Queue(unsafe { c::rd_kafka_queue_new(client.native_ptr()) });
    submit(queue.0);
    // SAFETY: the queue lives; an event that comes is ours, and `Event` destroys it.
    let event = unsafe { c::rd_kafka_queue_poll(queue.0, millis(timeout + GRACE)) };
    if event.is_null() {
        return Err(Refusal { code: Code::OperationTimedOut, text: "no answer".into() });
    }
    let event = Event(event);
    // SAFETY: the event lives; its text belongs to it and is copied.
    unsafe {
        let code = Code::from(c::rd_kafka_event_error(event.0));
        if code == Code::NoError {
            return Ok(event);
        }
        Err(Refusal { code, text: text(c::rd_kafka_event_error_string(event.0)) })
    }
}

fn partition_list(wanted: &[(&str, i32, Offset)]) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(wanted.len());
    for (topic, partition, offset) in wanted {
        list.add_partition_offset(topic, *partition, *offset)?;
    }
    Ok(list)
}

/// The partitions of the one group that was asked for.
///
/// # Safety
/// `groups` points to `count` results of an event that lives.
unsafe fn group_result(groups: *mut *const c::rd_kafka_group_result_t, count: usize) -> Result<Vec<Found>, Refusal> {
    // SAFETY: as the caller says.
    unsafe {
        let Some(group) = entries(groups, count).first() else { return Ok(Vec::new()) };
        seen_error(c::rd_kafka_group_result_error(*group))?;
        let list = c::rd_kafka_group_result_partitions(*group);
        if list.is_null() || (*list).elems.is_null() {
            return Ok(Vec::new());
        }
        let len = usize::try_from((*list).cnt).unwrap_or(0);
        Ok(slice::from_raw_parts((*list).elems, len).iter().map(|element| found(element)).collect())
    }
}

/// # Safety
/// The topic's name is a C string.
unsafe fn found(element: &c::rd_kafka_topic_partition_t) -> Found {
    let code = Code::from(element.err);
    let offset = if code == Code::NoError { Ok(element.offset) } else { Err(code) };
    // SAFETY: as the caller says.
    (unsafe { text(element.topic) }, element.partition, offset)
}

/// # Safety
/// `first` points to `count` pointers, or is null where there are none.
unsafe fn entries<'a, T>(first: *mut *const T, count: usize) -> &'a [*const T] {
    if first.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: as the caller says.
    unsafe { slice::from_raw_parts(first, count) }
}

/// # Safety
/// The pointer is null or a C string.
unsafe fn text(from: *const c_char) -> String {
    if from.is_null() {
        return String::new();
    }
    // SAFETY: as the caller says.
    unsafe { CStr::from_ptr(from) }.to_string_lossy().into_owned()
}

/// An error that belongs to somebody else.
///
/// # Safety
/// The pointer is null or an error that lives.
unsafe fn seen_error(error: *const c::rd_kafka_error_t) -> Result<(), Refusal> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: as the caller says.
    unsafe {
        let code = Code::from(c::rd_kafka_error_code(error));
        if code == Code::NoError {
            return Ok(());
        }
        Err(Refusal { code, text: text(c::rd_kafka_error_string(error)) })
    }
}

/// An error that is ours, and is destroyed here.
///
/// # Safety
/// The pointer is null or an error that nobody else holds.
unsafe fn take_error(error: *mut c::rd_kafka_error_t) -> Result<(), Refusal> {
    // SAFETY: as the caller says.
    unsafe {
        let result = seen_error(error);
        if !error.is_null() {
            c::rd_kafka_error_destroy(error);
        }
        result
    }
}

fn millis(duration: Duration) -> c_int {
    c_int::try_from(duration.as_millis()).unwrap_or(c_int::MAX)
}

struct Queue(*mut c::rd_kafka_queue_t);

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: made by `ask`, and nobody else holds it.
        unsafe { c::rd_kafka_queue_destroy(self.0) };
    }
}

struct Event(*mut c::rd_kafka_event_t);

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: taken from a queue by `ask`, and nobody else holds it.
        unsafe { c::rd_kafka_event_destroy(self.0) };
    }
}

struct Options(*mut c::rd_kafka_AdminOptions_t);

impl Options {
    fn new<C: ClientContext>(
        client: &Client<C>,
        op: c::rd_kafka_admin_op_t,
        timeout: Duration,
    ) -> Result<Self, Refusal> {
        let mut why = [0 as c_char; TEXT_BYTES];
        // SAFETY: the client lives; `Options` destroys what is made; the buffer is
        // as long as is said, and is ended by a zero byte.
        unsafe {
            let options = Self(c::rd_kafka_AdminOptions_new(client.native_ptr(), op));
            let request_ms = millis(timeout);
            let code = c::rd_kafka_AdminOptions_set_request_timeout(options.0, request_ms, why.as_mut_ptr(), why.len());
            match Code::from(code) {
                Code::NoError => Ok(options),
                code => Err(Refusal { code, text: text(why.as_ptr()) }),
            }
        }
    }
}

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: made by `new`, and nobody else holds it.
        unsafe { c::rd_kafka_AdminOptions_destroy(self.0) };
    }
}

struct Resources(Vec<*mut c::rd_kafka_ConfigResource_t>);

impl Drop for Resources {
    fn drop(&mut self) {
        for resource in &self.0 {
            // SAFETY: made by `alter_topics`, and librdkafka keeps a copy.
            unsafe { c::rd_kafka_ConfigResource_destroy(*resource) };
        }
    }
}

struct Acls(Vec<*mut c::rd_kafka_AclBinding_t>);

impl Drop for Acls {
    fn drop(&mut self) {
        for acl in &self.0 {
            // SAFETY: made by `acl`, and librdkafka keeps a copy.
            unsafe { c::rd_kafka_AclBinding_destroy(*acl) };
        }
    }
}
