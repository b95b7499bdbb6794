mod json_schema;
mod properties;
mod random_weights;
mod support;
mod tables;
