//! The code of a factory: its builder, how a row is made, how rows and their relatives are created.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Expr, Ident, Lit};

use crate::model::{Field, Links, Model, Parent, Value};
use crate::store::Store;

/// The names that are used all over.
pub(crate) struct Names {
    pub(crate) factory: Ident,
    pub(crate) slots: Ident,
}

pub(crate) fn expand(model: &Model) -> TokenStream {
    let names = Names {
        factory: format_ident!("{}Factory", model.name),
        slots: format_ident!("__{}Slots", model.name),
    };
    let required: Vec<_> = model.fields.iter().filter(|field| field.required).collect();
    let parts = [
        slots(model, &names),
        builder(model, &names, &required),
        setters(model, &names, &required),
        traits(model, &names, &required),
        row(model, &names),
        model.orm.map(|orm| create(model, &names, &required, &Store::new(model, orm))).unwrap_or_default(),
        described(model),
    ];
    quote!(#(#parts)*)
}

/// A struct that describes the row of another crate has fields that nobody reads, which the compiler
/// would say.
fn described(model: &Model) -> TokenStream {
    let (name, fields) = (&model.name, model.fields.iter().map(|field| &field.name));
    if *name == model.row.to_string() {
        return TokenStream::new();
    }
    quote! {
        const _: () = {
            #[allow(dead_code)]
            fn fields(all: &#name) {
                #(let _ = &all.#fields;)*
            }
        };
    }
}

fn pascal(name: &Ident) -> String {
    let text = name.to_string();
    text.trim_start_matches("r#")
        .split('_')
        .map(|word| {
            word.chars()
                .next()
                .map_or(String::new(), |c| c.to_uppercase().chain(word.chars().skip(1)).collect())
        })
        .collect()
}

fn given(model: &Model, field: &Field) -> Ident {
    format_ident!("__{}{}IsGiven", model.name, pascal(&field.name))
}

fn parent_slot(name: &Ident) -> Ident {
    format_ident!("__parent_{name}")
}

fn many_slot(name: &Ident) -> Ident {
    format_ident!("__many_{name}")
}

/// What was said about a row that is to be made.
fn slots(model: &Model, names: &Names) -> TokenStream {
    let Model { visibility, library, fields, children, links, .. } = model;
    let slots = &names.slots;
    let fields_of =
        fields.iter().map(|Field { name, ty, .. }| quote!(pub #name: #library::__private::Slot<#ty>,));
    let parents = fields.iter().filter_map(|field| {
        let parent = field.parent.as_ref()?;
        let (slot, model, ty) = (parent_slot(&parent.name), &parent.model, &field.ty);
        Some(quote!(pub #slot: ::core::option::Option<#library::__private::Parent<#model, #ty>>,))
    });
    let children = children.iter().map(|children| {
        let (slot, model) = (many_slot(&children.name), &children.model);
        quote!(pub #slot: ::std::vec::Vec<<#model as #library::Model>::Slots>,)
    });
    // The key of the other row is a row between the tables that refers to it already: only that
    // row's struct knows the type of the reference.
    let links = links.iter().map(|links| {
        let (slot, model, through) = (many_slot(&links.name), &links.model, &links.through);
        quote!(pub #slot: ::std::vec::Vec<
            #library::__private::Parent<#model, <#through as #library::Model>::Slots>,
        >,)
    });
    quote! {
        #[doc(hidden)]
        #[allow(missing_docs, missing_debug_implementations, non_camel_case_types, unreachable_pub)]
        #[derive(Clone, Default)]
        #visibility struct #slots { #(#fields_of)* #(#parents)* #(#children)* #(#links)* }
    }
}

/// The type parameters of a builder with one of them replaced.
fn parameters(required: &[&Field], replaced: impl Fn(&Field) -> Option<TokenStream>) -> TokenStream {
    if required.is_empty() {
        return TokenStream::new();
    }
    let each = required.iter().map(|field| {
        let own = format_ident!("__{}", pascal(&field.name));
        replaced(field).unwrap_or_else(|| quote!(#own))
    });
    quote!(<#(#each),*>)
}

fn builder(model: &Model, names: &Names, required: &[&Field]) -> TokenStream {
    let Model { visibility, name, library, .. } = model;
    let Names { factory, slots } = names;
    let own = parameters(required, |_| None);
    let defaults = parameters(required, |field| {
        let own = format_ident!("__{}", pascal(&field.name));
        Some(quote!(#own = #library::__private::Missing))
    });
    let missing = parameters(required, |_| Some(quote!(#library::__private::Missing)));
    let states = required.iter().map(|field| format_ident!("__{}", pascal(&field.name)));
    let bounds = required.iter().map(|field| {
        let (bound, field) = (given(model, field), &field.name);
        let message = format!("`{field}` of this `{name}` was not given, and it has no default");
        let label = format!("`{field}` is missing before this");
        let note = format!(
            "write `.{field}(…)` before it, or give the field a default: `#[factory(default = …)]` in place of \
             `#[factory(required)]`"
        );
        quote! {
            #[doc(hidden)]
            #[allow(non_camel_case_types, unreachable_pub)]
            #[diagnostic::on_unimplemented(message = #message, label = #label, note = #note)]
            #visibility trait #bound {}
            impl #bound for #library::__private::Given {}
        }
    });
    let doc = format!("Makes rows of [`{name}`]. What a test does not give has a default.");
    let start = format!("Starts a [`{name}`]: give what matters, then `build` or `create` it.");
    let text = factory.to_string();
    quote! {
        #(#bounds)*

        #[doc = #doc]
        #[must_use = "a factory makes nothing until it is asked to build or create"]
        #[allow(non_camel_case_types)]
        #visibility struct #factory #defaults {
            slots: #slots,
            state: ::core::marker::PhantomData<fn() -> (#(#states,)*)>,
        }

        impl #own ::core::clone::Clone for #factory #own {
            fn clone(&self) -> Self {
                Self { slots: self.slots.clone(), state: ::core::marker::PhantomData }
            }
        }

        impl #own ::core::fmt::Debug for #factory #own {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.debug_struct(#text).finish_non_exhaustive()
            }
        }

        impl #name {
            #[doc = #start]
            #[allow(dead_code)]
            #visibility fn factory() -> #factory #missing {
                #factory {
                    slots: ::core::default::Default::default(),
                    state: ::core::marker::PhantomData,
                }
            }
        }
    }
}

fn setters(model: &Model, names: &Names, required: &[&Field]) -> TokenStream {
    let Model { visibility, name: model_name, library, fields, variants, children, links, .. } = model;
    let factory = &names.factory;
    let own = parameters(required, |_| None);
    // The builder after a method that gave these fields.
    let after = |set: &[&Ident]| {
        let parameters = parameters(required, |field| {
            set.contains(&&field.name).then(|| quote!(#library::__private::Given))
        });
        quote!(#factory #parameters)
    };
    let again = quote!(#factory { slots: self.slots, state: ::core::marker::PhantomData });
    let give = fields.iter().map(|Field { name, ty, .. }| {
        let (doc, after) = (format!("Gives `{name}`."), after(&[name]));
        quote! {
            #[doc = #doc]
            #visibility fn #name(mut self, value: impl #library::Give<#ty>) -> #after {
                self.slots.#name = #library::__private::Slot::Given(#library::Give::give(value));
                #again
            }
        }
    });
    let parents = fields.iter().filter_map(|field| {
        let parent = field.parent.as_ref()?;
        let (name, of, ty) = (&parent.name, &parent.model, &field.ty);
        let slot = parent_slot(name);
        let key = parent_key(library, parent);
        Some(quote! {
            /// Gives the parent: a row that exists, a factory of one that is to be created, or one
            /// that is shared.
            #visibility fn #name(mut self, parent: impl #library::IntoParent<#of>) -> Self {
                self.slots.#slot = ::core::option::Option::Some(parent.into_parent::<#ty>(#key));
                self
            }
        })
    });
    let children = children.iter().map(|children| {
        let (name, of, slot) = (&children.name, &children.model, many_slot(&children.name));
        quote! {
            /// Creates these along, each with the new row as its parent.
            #visibility fn #name<__F: #library::Ready<#of>>(
                mut self,
                children: impl ::core::iter::IntoIterator<Item = __F>,
            ) -> Self {
                self.slots.#slot.extend(children.into_iter().map(#library::Ready::slots));
                self
            }
        }
    });
    let links = links.iter().map(|links| {
        let (name, of, slot) = (&links.name, &links.model, many_slot(&links.name));
        let key = link_key(library, links);
        quote! {
            /// Links these: rows that exist, factories of rows that are to be created, or shared ones.
            #visibility fn #name<__P: #library::IntoParent<#of>>(
                mut self,
                others: impl ::core::iter::IntoIterator<Item = __P>,
            ) -> Self {
                self.slots.#slot.extend(others.into_iter().map(|other| other.into_parent(#key)));
                self
            }
        }
    });
    let variants = variants.iter().enumerate().map(|(number, variant)| {
        let number = number as u16;
        let (name, doc) = (&variant.name, format!("The variant `{}`.", variant.name));
        let set: Vec<_> = variant.values.iter().map(|(name, _)| name).collect();
        let after = after(&set);
        let steps = variant.values.iter().map(|(name, value)| {
            if fields.iter().any(|field| field.name == *name) {
                return quote!(this.slots.#name.vary(#number););
            }
            let parents = fields.iter().filter_map(|field| field.parent.as_ref());
            match parents.map(|parent| &parent.name).find(|parent| *parent == name) {
                // What the test gave wins.
                Some(parent) => {
                    let slot = parent_slot(parent);
                    quote!(if this.slots.#slot.is_none() { this = this.#name(#value); })
                }
                None => quote!(this = this.#name(#value);),
            }
        });
        quote! {
            #[doc = #doc]
            #visibility fn #name(self) -> #after {
                let mut this = self;
                #(#steps)*
                #factory { slots: this.slots, state: ::core::marker::PhantomData }
            }
        }
    });
    let (row, bounds) = (&model.row, bounds(model, required));
    quote! {
        #[allow(dead_code, unused_mut, clippy::should_implement_trait)]
        impl #own #factory #own {
            #(#give)*
            #(#parents)*
            #(#children)*
            #(#links)*
            #(#variants)*

            /// Makes the row without a database. A parent that exists is referred to; one that
            /// would have to be created, and children, are left out.
            #visibility fn build(self) -> #row #bounds {
                self.slots.__row().0
            }

            /// One row that is created with the first row that refers to it, and referred to by all.
            #visibility fn shared(self) -> #library::Shared<#model_name> #bounds {
                #library::Shared::new(self.slots)
            }
        }
    }
}

/// From the other row to a row between the tables that refers to it.
fn link_key(library: &TokenStream, links: &Links) -> TokenStream {
    let Links { model, through, other, other_key, .. } = links;
    quote!(|row: &<#model as #library::Model>::Row| {
        let mut link = <<#through as #library::Model>::Slots as ::core::default::Default>::default();
        link.#other = #library::__private::Slot::Given(#library::Give::give(::core::clone::Clone::clone(&row.#other_key)));
        link
    })
}

/// From the parent to the field that refers to it.
fn parent_key(library: &TokenStream, parent: &Parent) -> TokenStream {
    let (of, key) = (&parent.model, &parent.key);
    quote!(|row: &<#of as #library::Model>::Row| #library::Give::give(::core::clone::Clone::clone(&row.#key)))
}

fn bounds(model: &Model, required: &[&Field]) -> TokenStream {
    if required.is_empty() {
        return TokenStream::new();
    }
    let bounds = required.iter().map(|field| {
        let (own, bound) = (format_ident!("__{}", pascal(&field.name)), given(model, field));
        quote!(#own: #bound)
    });
    quote!(where #(#bounds),*)
}

/// What ties the builder to other factories.
fn traits(model: &Model, names: &Names, required: &[&Field]) -> TokenStream {
    let Model { name, row, library, fields, .. } = model;
    let Names { factory, slots } = names;
    let ready = parameters(required, |_| Some(quote!(#library::__private::Given)));
    let text = name.to_string();
    let unaided = required.is_empty().then(|| quote!(impl #library::Unaided for #name {}));
    let parents = fields.iter().filter_map(|field| field.parent.as_ref().filter(|parent| !parent.optional));
    let needs = parents.map(|parent| {
        let of = &parent.model;
        quote_spanned!(of.span()=> const _: fn() = || {
            fn is_made_by_default<T: #library::Unaided>() {}
            is_made_by_default::<#of>();
        };)
    });
    quote! {
        impl #library::Model for #name {
            type Row = #row;
            type Slots = #slots;
            const NAME: &'static str = #text;
        }
        #unaided
        impl #library::Ready<#name> for #factory #ready {
            fn slots(self) -> #slots { self.slots }
        }
        impl #library::IntoParent<#name> for #factory #ready {
            fn into_parent<__K>(self, key: fn(&#row) -> __K) -> #library::__private::Parent<#name, __K> {
                #library::__private::Parent::Make(::std::boxed::Box::new(self.slots), key)
            }
        }
        impl #library::IntoParent<#name> for &#row {
            fn into_parent<__K>(self, key: fn(&#row) -> __K) -> #library::__private::Parent<#name, __K> {
                #library::__private::Parent::Key(key(self))
            }
        }
        #(#needs)*
    }
}

/// The value of a field from what the user wrote: a literal may be lent to a `String` or `Option`.
fn value(library: &TokenStream, expression: &Expr) -> TokenStream {
    match expression {
        Expr::Lit(_) => quote_spanned!(expression.span()=> #library::Give::give(#expression)),
        _ => quote!(#expression),
    }
}

fn default(library: &TokenStream, field: &Field) -> TokenStream {
    let (name, ty) = (field.name.to_string(), &field.ty);
    match &field.value {
        Value::Sample if field.skip => quote!(::core::default::Default::default()),
        Value::Sample if field.parent.as_ref().is_some_and(|parent| parent.optional) => {
            quote!(::core::option::Option::None)
        }
        Value::Sample => {
            quote_spanned!(ty.span()=> <#ty as #library::Sample>::sample(#name, n, __draw.rng()))
        }
        Value::Default(expression) => value(library, expression),
        Value::Sequence(text @ Expr::Lit(syn::ExprLit { lit: Lit::Str(_), .. })) => {
            quote!(#library::Give::give(::std::format!(#text)))
        }
        Value::Sequence(closure @ Expr::Closure(_)) => quote!(#library::__private::sequence(#closure, n)),
        Value::Sequence(expression) => quote!(#expression),
        Value::Fake(faker) => {
            quote!(#library::__private::Fake::fake_with_rng::<#ty, _>(&(#faker), __draw.rng()))
        }
    }
}

/// One row from what was said about it, with the columns of the database's own that were given.
fn row(model: &Model, names: &Names) -> TokenStream {
    let Model { library, row, fields, variants, name, .. } = model;
    let slots = &names.slots;
    let text = name.to_string();
    let mut bit = 0_u32;
    let steps = fields.iter().map(|field| {
        let (name, ty) = (&field.name, &field.ty);
        let own = format_ident!("__own_{name}");
        let default = default(library, field);
        let varied = variants.iter().enumerate().filter_map(|(number, variant)| {
            let (_, expression) = variant.values.iter().find(|(set, _)| set == name)?;
            let (number, value) = (number as u16, value(library, expression));
            Some(quote!(#library::__private::Slot::Variant(#number) => #value,))
        });
        let mark = (field.generated && !field.skip).then(|| {
            let mark = quote!(if !self.#name.is_unset() { __set |= 1 << #bit; });
            bit += 1;
            mark
        });
        quote! {
            #mark
            let #own: #ty = match self.#name {
                #library::__private::Slot::Given(given) => given,
                #(#varied)*
                _ => #default,
            };
            let #name = &#own;
        }
    });
    // It is made only where it may be used.
    let said = quote!(#(#steps)*);
    let unique = said.to_string().contains("unique").then(|| quote!(let unique = __draw.unique();));
    let fills = fields.iter().map(|field| {
        let (name, own) = (&field.name, format_ident!("__own_{}", field.name));
        quote!(#name: #own)
    });
    quote! {
        impl #slots {
            #[allow(unused_variables, unused_mut, clippy::all, clippy::pedantic)]
            fn __row(self) -> (#row, u64) {
                let mut __draw = #library::__private::Draw::next(::core::concat!(::core::module_path!(), "::", #text), #text);
                let n: u64 = __draw.n();
                #unique
                let mut __set = 0_u64;
                #said
                (#row { #(#fills),* }, __set)
            }
        }
    }
}

/// How rows are created, with their parents before and their children after them.
fn create(model: &Model, names: &Names, required: &[&Field], store: &Store) -> TokenStream {
    let Model { visibility, name, row, library, fields, children, links, variants, .. } = model;
    let Names { factory, slots } = names;
    let own = parameters(required, |_| None);
    let bounds = bounds(model, required);
    let text = name.to_string();
    let Store { is_async, lifetime, generics, connection, source, source_generics, acquire, lend, insert } =
        store;
    let awaits = is_async.then(|| quote!(.await));
    let asyncs = is_async.then(|| quote!(async));
    let output = quote!(::core::result::Result<::std::vec::Vec<#row>, #library::Error>);
    let creates = |of: &syn::Path, what: TokenStream| quote!(<#of as #library::Model>::Slots::__create(#what, #lend, __depth + 1) #awaits ?);
    let parents = fields.iter().filter_map(|field| {
        let (parent, field, ty) = (field.parent.as_ref()?, &field.name, &field.ty);
        let (slot, of, key) = (parent_slot(&parent.name), &parent.model, parent_key(library, parent));
        let none = if parent.optional {
            quote!(continue)
        } else {
            quote!(#library::__private::Parent::Make(::core::default::Default::default(), #key))
        };
        let made = creates(of, quote!(wanted));
        Some(quote! {{
            let mut pending = #library::__private::Pending::<#of, #ty>::new();
            for (at, one) in __all.iter_mut().enumerate() {
                let parent = match one.#slot.take() {
                    _ if one.#field.is_given() => continue,
                    ::core::option::Option::Some(parent) => parent,
                    ::core::option::Option::None if !one.#field.is_unset() => continue,
                    ::core::option::Option::None => #none,
                };
                pending.push(at, parent);
            }
            let wanted = pending.wanted();
            let made = if wanted.is_empty() { ::std::vec::Vec::new() } else { #made };
            for (at, key) in pending.keys(made) {
                __all[at].#field = #library::__private::Slot::Given(key);
            }
        }})
    });
    let link_slots = links.iter().map(|links| {
        let (slot, of, through) = (many_slot(&links.name), &links.model, &links.through);
        let made = creates(of, quote!(wanted));
        quote! {
            let #slot: ::std::vec::Vec<_> = {
                let mut pending = #library::__private::Pending::<#of, <#through as #library::Model>::Slots>::new();
                for (at, one) in __all.iter_mut().enumerate() {
                    for other in ::core::mem::take(&mut one.#slot) {
                        pending.push(at, other);
                    }
                }
                let wanted = pending.wanted();
                let made = if wanted.is_empty() { ::std::vec::Vec::new() } else { #made };
                pending.keys(made)
            };
        }
    });
    let take = children.iter().map(|children| {
        let slot = many_slot(&children.name);
        quote!(let #slot = #library::__private::numbered(__all.iter_mut().map(|one| &mut one.#slot));)
    });
    let after =
        children.iter().map(|children| (&children.name, &children.model, &children.by, &children.key));
    let after = after.chain(links.iter().map(|links| (&links.name, &links.through, &links.own, &links.key)));
    let after = after.map(|(name, of, by, key)| {
        let slot = many_slot(name);
        let made = creates(of, quote!(children));
        quote! {
            let children: ::std::vec::Vec<_> = #slot
                .into_iter()
                .map(|(at, mut child)| {
                    child.#by = #library::__private::Slot::Given(#library::Give::give(
                        ::core::clone::Clone::clone(&__rows[at].#key),
                    ));
                    child
                })
                .collect();
            if !children.is_empty() {
                #made;
            }
        }
    });
    let body = quote! {
        #library::__private::not_too_deep(#text, __depth)?;
        #(#parents)*
        #(#link_slots)*
        #(#take)*
        let __rows: ::std::vec::Vec<_> = __all.into_iter().map(|one| one.__row()).collect();
        let mut __done = ::std::vec::Vec::new();
        for (__set, __rows) in #library::__private::groups(__rows) {
            let made = { #insert };
            // There is nearly always one group.
            if __done.is_empty() { __done = made } else { __done.extend(made) }
        }
        let __rows = __done;
        #(#after)*
        ::core::result::Result::Ok(__rows)
    };
    let (returns, body) = if *is_async {
        (
            quote!(#library::__private::BoxFuture<#lifetime, #output>),
            quote!(::std::boxed::Box::pin(async move { #body })),
        )
    } else {
        (output.clone(), body)
    };
    let one = quote!(#slots::__create(::std::vec![self.slots], #lend, 0) #awaits);
    let lint = variants.iter().map(|variant| {
        let (method, label) = (&variant.name, format!("{text}.{}()", variant.name));
        let made = quote!(#slots::__create(::std::vec![self.clone().#method().slots], #lend, 0) #awaits);
        quote!(__refused.note(#label, #made);)
    });
    quote! {
        impl #slots {
            #[doc(hidden)]
            #[allow(unused_mut, unused_variables, clippy::all, clippy::pedantic, missing_docs)]
            #visibility fn __create #generics (
                mut __all: ::std::vec::Vec<Self>,
                __connection: #connection,
                __depth: usize,
            ) -> #returns {
                #body
            }
        }

        #[allow(dead_code)]
        impl #own #factory #own {
            /// Creates one row, its parents before and its children after it.
            ///
            /// # Errors
            /// The database refuses one of them: the error says whose, and which field.
            #visibility #asyncs fn create #source_generics (self, db: #source) -> ::core::result::Result<#row, #library::Error> #bounds {
                #acquire
                #one.map(#library::__private::only)
            }

            /// Creates this many rows with one INSERT. Each has its own numbers, random values and
            /// parents; a parent that is given or shared is theirs together.
            ///
            /// # Errors
            /// As `create`.
            #visibility #asyncs fn create_many #source_generics (self, count: usize, db: #source) -> #output #bounds {
                #acquire
                #slots::__create(::std::vec![self.slots; count], #lend, 0) #awaits
            }

            /// Creates the row as it stands and once more with each variant, and reports all that
            /// the schema refuses.
            ///
            /// # Errors
            /// There is one.
            #visibility #asyncs fn lint #source_generics (self, db: #source) -> ::core::result::Result<(), #library::Refused> #bounds {
                #acquire
                let mut __refused = #library::Refused::default();
                let __made = #slots::__create(::std::vec![self.slots.clone()], #lend, 0) #awaits;
                __refused.note(#text, __made);
                #(#lint)*
                __refused.into_result()
            }
        }

        #[allow(dead_code)]
        impl #name {
            /// Creates these rows with one INSERT.
            ///
            /// # Errors
            /// As `create`.
            #visibility #asyncs fn create_all #source_generics (
                rows: impl ::core::iter::IntoIterator<Item = impl #library::Ready<#name>>,
                db: #source,
            ) -> #output {
                let __all: ::std::vec::Vec<_> = rows.into_iter().map(#library::Ready::slots).collect();
                #acquire
                #slots::__create(__all, #lend, 0) #awaits
            }
        }
    }
}
