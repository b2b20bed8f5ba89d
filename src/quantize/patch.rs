//! What a rule asks for: changes to the graph as values, which one place carries out.

/// A change around one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// A tensor goes through 8-bit numbers, by its own range.
    Own(String),
    /// A tensor goes through 8-bit numbers, by the scale and zero point of another.
    Same {
        /// The tensor.
        tensor: String,
        /// The other.
        like: String,
    },
    /// The node goes: its result is another tensor's numbers, each worth a multiple of what it was.
    Scale {
        /// The result.
        tensor: String,
        /// The other.
        like: String,
        /// The multiple, as bits of a 32-bit float.
        factor: u32,
    },
    /// A constant input becomes numbers of the weights' type.
    Weight {
        /// Which input.
        place: usize,
        /// The axis of its channels, where each gets a scale.
        axis: Option<usize>,
    },
    /// A constant input becomes numbers of the activations' type.
    Operand {
        /// Which input.
        place: usize,
    },
    /// A constant input becomes 32-bit numbers, in steps of the first input's scale times the second's.
    Bias {
        /// Which input.
        place: usize,
    },
    /// The node goes: saturation of its maker's 8-bit result does the same.
    Absorb {
        /// What the maker made.
        upstream: String,
        /// What it makes from now on.
        result: String,
    },
}

/// How much a node is worth on 8-bit numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weightiness {
    /// It is the work: a convolution, a matrix product.
    Heavy,
    /// It rides along between others, and gains nothing alone.
    Light,
}

/// What one rule asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Whether it pays alone.
    pub weightiness: Weightiness,
    /// The changes.
    pub edits: Vec<Edit>,
}

impl Patch {
    /// One that pays alone.
    pub fn heavy(edits: Vec<Edit>) -> Patch {
        Patch { weightiness: Weightiness::Heavy, edits }
    }

    /// One that pays between others.
    pub fn light(edits: Vec<Edit>) -> Patch {
        Patch { weightiness: Weightiness::Light, edits }
    }

    /// The tensors that it takes through 8-bit numbers.
    pub fn tensors(&self) -> impl Iterator<Item = &str> {
        self.edits.iter().filter_map(|edit| match edit {
            Edit::Own(tensor) | Edit::Same { tensor, .. } | Edit::Absorb { result: tensor, .. } => {
                Some(tensor.as_str())
            }
            _ => None,
        })
    }
}
