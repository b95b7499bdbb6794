//! What tests of several crates need: a scripted model, a hash embedder, tiny weights. A
//! development dependency only.

mod gguf_writer;
mod hash_embedder;
mod scripted_model;
mod tiny_model;
mod weights;

pub use gguf_writer::{GgufValue, GgufWriter};
pub use hash_embedder::HashEmbedder;
pub use scripted_model::{Asked, ScriptedModel, call, random_call, random_text};
pub use tiny_model::{TinyFamily, TinyModel};
pub use weights::test_weights;
