mod properties;
mod random_weights;
mod support;
mod tables;
