//! A call on the SDK's own client with a decoder of the caller's: credentials, endpoint, signing and errors stay the SDK's, and the body of a
//! successful answer is read once, into what the caller needs. In the same way the largest member of a request is the caller's to write.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeSerializationInterceptorContextRef, Error, Input, Output,
};
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::client::ser_de::{
    DeserializeResponse, SerializeRequest, SharedRequestSerializer, SharedResponseDeserializer,
};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::error::metadata::ErrorMetadata;
use bytes::Bytes;

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
    member: Option<Bytes>,
}

impl<T> Tap<T> {
    pub(super) fn new(operation: Operation, decode: Decode<T>) -> Self {
        Self {
            operation,
            decode,
            read: Arc::new(Mutex::new(None)),
            member: None,
        }
    }

    /// Puts `member`, name and value in CBOR, before those that the SDK writes.
    pub(super) fn with_member(mut self, member: Bytes) -> Self {
        self.member = Some(member);
        self
    }

    /// The answer to a call that `send` makes with the tap on it. What the SDK takes for a success the tap has read, or has failed.
    ///
    /// # Errors
    /// The SDK's; a body that the decoder refuses is a [`SdkError::ResponseError`].
    pub(super) async fn read<O, E, F>(
        self,
        send: impl FnOnce(Self) -> F,
    ) -> Result<T, SdkError<E, HttpResponse>>
    where
        F: Future<Output = Result<O, SdkError<E, HttpResponse>>>,
    {
        let read = Arc::clone(&self.read);
        send(self).await?;
        let taken = read.lock().unwrap_or_else(PoisonError::into_inner).take();
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
        if let Some(member) = self.member.clone() {
            let sdk = config.load::<SharedRequestSerializer>().cloned();
            let serializer = WithMember {
                sdk: sdk.ok_or("the SDK has no serializer for this operation")?,
                member,
            };
            config
                .interceptor_state()
                .store_put(SharedRequestSerializer::new(serializer));
        }
        Ok(())
    }
}

/// The SDK's own request with a member more.
#[derive(Debug)]
struct WithMember {
    sdk: SharedRequestSerializer,
    member: Bytes,
}

/// How a map begins that does not say how long it is.
const BEGIN_MAP: u8 = 0xbf;

impl SerializeRequest for WithMember {
    fn serialize_input(
        &self,
        input: Input,
        config: &mut ConfigBag,
    ) -> Result<HttpRequest, BoxError> {
        let mut request = self.sdk.serialize_input(input, config)?;
        let others = request.body().bytes().unwrap_or_default();
        let others = others.strip_prefix(&[BEGIN_MAP]);
        let others = others.ok_or("the SDK writes a request otherwise than it did")?;
        let body = [&[BEGIN_MAP], &self.member[..], others].concat();
        let length = body.len().to_string();
        request.headers_mut().insert("content-length", length);
        *request.body_mut() = SdkBody::from(body);
        Ok(request)
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
