//! The protobuf messages of the typed frames server and client. Their `NAME` is the type name of the frame that carries them.
//!
//! They are declared in Rust, so that no `protoc` is needed; what `prost-build` generates from a `.proto` file works alike.

use prost::{Message, Name};

#[derive(Clone, PartialEq, Message)]
pub struct Hello {
    #[prost(string, tag = "1")]
    pub name: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct Welcome {
    #[prost(string, tag = "1")]
    pub text: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct Add {
    #[prost(sint64, repeated, tag = "1")]
    pub numbers: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Sum {
    #[prost(sint64, tag = "1")]
    pub value: i64,
}

/// The answer to a frame that is no request.
#[derive(Clone, PartialEq, Message)]
pub struct Failure {
    #[prost(string, tag = "1")]
    pub reason: String,
}

impl Name for Hello {
    const NAME: &'static str = "Hello";
    const PACKAGE: &'static str = "example";
}

impl Name for Welcome {
    const NAME: &'static str = "Welcome";
    const PACKAGE: &'static str = "example";
}

impl Name for Add {
    const NAME: &'static str = "Add";
    const PACKAGE: &'static str = "example";
}

impl Name for Sum {
    const NAME: &'static str = "Sum";
    const PACKAGE: &'static str = "example";
}

impl Name for Failure {
    const NAME: &'static str = "Failure";
    const PACKAGE: &'static str = "example";
}
