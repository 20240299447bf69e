//! The derive of `dbtest-factory`, which re-exports and documents it.

mod expand;
mod model;
mod store;

use proc_macro::TokenStream;

/// Makes a factory for a struct that is a row. What it takes is documented in `dbtest-factory`.
#[proc_macro_derive(Factory, attributes(factory))]
pub fn factory(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as syn::DeriveInput);
    model::Model::read(&input)
        .map_or_else(|error| error.to_compile_error(), |model| expand::expand(&model))
        .into()
}
