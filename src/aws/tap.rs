//! A call on the SDK's own client with a decoder of the caller's: credentials, endpoint, signing and errors stay the SDK's, and the body of a
//! successful answer is read once, into what the caller needs.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeSerializationInterceptorContextRef, Error, Output,
};
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::client::ser_de::{DeserializeResponse, SharedResponseDeserializer};
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::error::metadata::ErrorMetadata;

/// Reads a body.
pub(super) type Decode<T> = fn(&[u8]) -> Result<T, BoxError>;

/// What the SDK wants to see of an operation whose answer it does not read.
#[derive(Clone, Copy)]
pub(super) struct Operation {
    /// An answer without anything in it.
    pub(super) empty: fn() -> Output,
    /// A refusal.
    pub(super) refused: fn(ErrorMetadata) -> Error,
    /// Code and message of a refusal.
    pub(super) error_of: fn(&HttpResponse, &[u8]) -> ErrorMetadata,
}

/// Puts its own decoder in the place of the SDK's.
pub(super) struct Tap<T> {
    operation: Operation,
    decode: Decode<T>,
    read: Arc<Mutex<Option<T>>>,
}

impl<T> Tap<T> {
    pub(super) fn new(operation: Operation, decode: Decode<T>) -> Self {
        Self {
            operation,
            decode,
            read: Arc::new(Mutex::new(None)),
        }
    }

    /// Where the answer will be.
    pub(super) fn answer(&self) -> Answer<T> {
        Answer(Arc::clone(&self.read))
    }
}

/// An answer that was read by a tap.
pub(super) struct Answer<T>(Arc<Mutex<Option<T>>>);

impl<T> Answer<T> {
    /// Takes it, after the SDK took the call for a success: so the tap has read it, or has failed the call.
    #[expect(clippy::result_large_err, reason = "the SDK's own error")]
    pub(super) fn take<E>(self) -> Result<T, SdkError<E, HttpResponse>> {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        taken.ok_or_else(|| SdkError::construction_failure("the answer was not read"))
    }
}

impl<T> fmt::Debug for Tap<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap").finish_non_exhaustive()
    }
}

#[dyn_dispatch_hint]
impl<T: Send + fmt::Debug + 'static> Intercept for Tap<T> {
    fn name(&self) -> &'static str {
        "AnswerTap"
    }

    fn read_before_execution(
        &self,
        _context: &BeforeSerializationInterceptorContextRef<'_>,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let decoder = Tapped {
            operation: self.operation,
            decode: self.decode,
            read: Arc::clone(&self.read),
        };
        config
            .interceptor_state()
            .store_put(SharedResponseDeserializer::new(decoder));
        Ok(())
    }
}

struct Tapped<T> {
    operation: Operation,
    decode: Decode<T>,
    read: Arc<Mutex<Option<T>>>,
}

impl<T> fmt::Debug for Tapped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tapped").finish_non_exhaustive()
    }
}

impl<T: Send + fmt::Debug + 'static> DeserializeResponse for Tapped<T> {
    fn deserialize_nonstreaming_with_config(
        &self,
        response: &HttpResponse,
        _config: &ConfigBag,
    ) -> Result<Output, OrchestratorError<Error>> {
        let body = response.body().bytes().unwrap_or_default();
        if !response.status().is_success() {
            let error = (self.operation.error_of)(response, body);
            return Err(OrchestratorError::operation((self.operation.refused)(
                error,
            )));
        }
        match (self.decode)(body) {
            Ok(answer) => {
                *self.read.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
                Ok((self.operation.empty)())
            }
            // Answered, and so billed: no refusal.
            Err(error) => Err(OrchestratorError::response(error)),
        }
    }
}
