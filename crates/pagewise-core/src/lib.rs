//! The vocabulary shared by crates that may not see each other.
//!
//! Inference never sees memory and the agent never sees tensors; they meet here. The agent says
//! what the model may answer with [`FunctionSpec`]s and asks a [`LanguageModel`] for a
//! [`Generation`]; memory stores [`Message`]s and asks an [`Embedder`] for vectors. Nothing in this
//! crate does I/O except [`SystemClock`], which reads the time.

mod argument;
mod clock;
mod embed;
mod function;
mod message;
mod model;
mod private;

pub use argument::{ArgumentKind, ArgumentSpec, MAX_KEY_CHARS, MAX_NAME_CHARS};
pub use clock::{Clock, FixedClock, SystemClock};
pub use embed::{EmbedError, Embedder, Purpose};
pub use function::{CallError, CallFormat, FunctionCall, FunctionResult, FunctionSpec, Status};
pub use message::{Message, MessageBody, MessageId, Role};
pub use model::{
    Constraint, Finish, Generation, GenerationRequest, LanguageModel, ModelError, Prompt,
    PromptMessage, PromptRole, Sampling, SessionSlot, TokenUsage, Weighing, WeighingRequest,
};
pub use private::{for_owner_alone, make_private};
