//! The limit of open files of the generator.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::LoadError;

/// Descriptors that the generator needs besides its connections.
const SPARE: u64 = 32;

/// Makes sure that `connections` can be open at the same time: raises the soft limit of open files as far as the hard
/// limit.
///
/// # Errors
/// Fails if even the hard limit is too low.
pub(crate) fn allow_descriptors(connections: usize) -> Result<(), LoadError> {
    let count = connections as u64 + SPARE;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|soft| soft >= count) {
        return Ok(());
    }
    if limit.maximum.is_some_and(|hard| hard < count) {
        let hard = limit.maximum.unwrap_or(count);
        return Err(LoadError::Options(format!(
            "{count} descriptors are needed, and the hard limit (ulimit -Hn) is {hard}"
        )));
    }
    let raised = Rlimit {
        current: limit.maximum.or(Some(count)),
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).map_err(LoadError::errno("raise the limit of open files"))
}
