//! The protocol's other answers: metadata, repository index, statistics and configuration. Types to serialise, and the
//! functions that make them from a model's [`ModelSpec`].

use serde::Serialize;

use crate::core::tensor::{DataType, ModelSpec, TensorSpec};

/// The protocol's word for what runs the model, as Triton has it.
pub const PLATFORM: &str = "onnxruntime_onnx";

/// The extensions that work. `schedule_policy` is not among them: of it only `timeout` does.
pub const EXTENSIONS: [&str; 6] =
    ["binary_tensor_data", "classification", "parameters", "model_repository", "model_configuration", "statistics"];

/// `GET /v2`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServerMetadata {
    /// `server.name`.
    pub name: String,
    /// The daemon's version.
    pub version: String,
    /// What works beyond the protocol's core.
    pub extensions: Vec<&'static str>,
}

impl ServerMetadata {
    /// The answer for a server of that name and version.
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> ServerMetadata {
        ServerMetadata { name: name.into(), version: version.into(), extensions: EXTENSIONS.to_vec() }
    }
}

/// One input or output of [`ModelMetadata`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TensorMetadata {
    /// The name in the graph.
    pub name: String,
    /// The protocol's word, such as `FP32`.
    pub datatype: &'static str,
    /// Dimensions, the batch included; -1 where any size goes, empty for a scalar.
    pub shape: Vec<i64>,
    /// The classes along the last dimension, where the model's file names them: a member of our own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<Vec<String>>,
}

impl TensorMetadata {
    fn new(spec: &TensorSpec, classes: Option<&[String]>) -> TensorMetadata {
        TensorMetadata {
            name: spec.name.clone(),
            datatype: spec.datatype.name(),
            shape: spec.told_shape(),
            classes: classes.map(<[String]>::to_vec),
        }
    }
}

/// `GET /v2/models/{name}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelMetadata {
    /// The name it is served under.
    pub name: String,
    /// The versions that are served.
    pub versions: Vec<String>,
    /// [`PLATFORM`].
    pub platform: &'static str,
    /// Inputs that a request must have; those with an initialiser are accepted and not listed.
    pub inputs: Vec<TensorMetadata>,
    /// Outputs that are tensors.
    pub outputs: Vec<TensorMetadata>,
}

impl ModelMetadata {
    /// The answer for one model of one version.
    pub fn new(name: impl Into<String>, version: impl Into<String>, spec: &ModelSpec) -> ModelMetadata {
        ModelMetadata {
            name: name.into(),
            versions: vec![version.into()],
            platform: PLATFORM,
            inputs: required(spec).map(|input| TensorMetadata::new(input, None)).collect(),
            outputs: spec
                .outputs
                .iter()
                .map(|output| TensorMetadata::new(output, spec.classes(&output.name)))
                .collect(),
        }
    }
}

fn required(spec: &ModelSpec) -> impl Iterator<Item = &TensorSpec> {
    spec.inputs.iter().filter(|input| !input.optional)
}

/// The state of a model in the repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ModelState {
    /// It answers.
    Ready,
    /// It does not; the reason says why.
    Unavailable,
    /// It is being loaded.
    Loading,
    /// It is being unloaded.
    Unloading,
}

/// One entry of `POST /v2/repository/index`, whose answer is an array of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IndexEntry {
    /// The name it is served under.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Whether it answers.
    pub state: ModelState,
    /// Why not; left out where there is nothing to say.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// A number of events and the time that they took together, since the daemon started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StatisticDuration {
    /// How many.
    pub count: u64,
    /// Nanoseconds, all of them together.
    pub ns: u64,
}

/// What became of requests, and where their time went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct InferenceStatistics {
    /// Answered requests, from their arrival to their answer.
    pub success: StatisticDuration,
    /// Failed requests.
    pub fail: StatisticDuration,
    /// Waiting for the engine.
    pub queue: StatisticDuration,
    /// Making the engine's inputs.
    pub compute_input: StatisticDuration,
    /// Running the graph.
    pub compute_infer: StatisticDuration,
    /// Taking the engine's outputs.
    pub compute_output: StatisticDuration,
    /// Answers from a cache: none, there is no cache.
    pub cache_hit: StatisticDuration,
    /// Answers that a cache did not have: none either.
    pub cache_miss: StatisticDuration,
}

/// Runs of one batch size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BatchStatistics {
    /// The batch size.
    pub batch_size: u64,
    /// Making the engine's inputs.
    pub compute_input: StatisticDuration,
    /// Running the graph.
    pub compute_infer: StatisticDuration,
    /// Taking the engine's outputs.
    pub compute_output: StatisticDuration,
}

/// One model's entry of [`StatisticsAnswer`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ModelStatistics {
    /// The name it is served under.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The last request that was answered, in milliseconds since 1970; 0 for none.
    pub last_inference: u64,
    /// Inferences: a request counts as many as its batch has entries. Failed ones do not count.
    pub inference_count: u64,
    /// Runs of the graph.
    pub execution_count: u64,
    /// What became of requests.
    pub inference_stats: InferenceStatistics,
    /// The same by batch size; empty where nothing is batched.
    pub batch_stats: Vec<BatchStatistics>,
}

/// `GET /v2/models/{name}/stats` and `GET /v2/models/stats`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StatisticsAnswer {
    /// One entry a model and version.
    pub model_stats: Vec<ModelStatistics>,
}

/// `GET /v2/models/{name}/config`: what of Triton's `ModelConfig` means something here. It is read-only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelConfiguration {
    /// The name it is served under.
    pub name: String,
    /// [`PLATFORM`].
    pub platform: &'static str,
    /// `onnxruntime`.
    pub backend: &'static str,
    /// The version that is served.
    pub version_policy: VersionPolicy,
    /// 0: shapes are whole, the batch dimension included.
    pub max_batch_size: u32,
    /// Inputs that a request must have.
    pub input: Vec<TensorConfiguration>,
    /// Outputs that are tensors.
    pub output: Vec<TensorConfiguration>,
    /// The sessions.
    pub instance_group: [InstanceGroup; 1],
}

/// Which versions are served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VersionPolicy {
    /// The newest ones.
    pub latest: LatestVersions,
}

/// How many of the newest versions are served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LatestVersions {
    /// One.
    pub num_versions: u32,
}

/// One input or output of [`ModelConfiguration`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TensorConfiguration {
    /// The name in the graph.
    pub name: String,
    /// Triton's word for the datatype, such as `TYPE_FP32`.
    pub data_type: &'static str,
    /// Dimensions, the batch included; -1 where any size goes.
    pub dims: Vec<i64>,
}

/// Where the model runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InstanceGroup {
    /// The model's name with a number, as Triton names its groups.
    pub name: String,
    /// `KIND_CPU`.
    pub kind: &'static str,
    /// Sessions.
    pub count: usize,
}

impl ModelConfiguration {
    /// The answer for one model that runs in `sessions` sessions.
    pub fn new(name: impl Into<String>, spec: &ModelSpec, sessions: usize) -> ModelConfiguration {
        let name = name.into();
        let tensor = |spec: &TensorSpec| TensorConfiguration {
            name: spec.name.clone(),
            data_type: configuration_type(spec.datatype),
            dims: spec.told_shape(),
        };
        let group = InstanceGroup { name: format!("{name}_0"), kind: "KIND_CPU", count: sessions };
        ModelConfiguration {
            name,
            platform: PLATFORM,
            backend: "onnxruntime",
            version_policy: VersionPolicy { latest: LatestVersions { num_versions: 1 } },
            max_batch_size: 0,
            input: required(spec).map(tensor).collect(),
            output: spec.outputs.iter().map(tensor).collect(),
            instance_group: [group],
        }
    }
}

/// Triton's configuration has words of its own, and strings are called so there.
fn configuration_type(datatype: DataType) -> &'static str {
    match datatype {
        DataType::Bool => "TYPE_BOOL",
        DataType::Uint8 => "TYPE_UINT8",
        DataType::Uint16 => "TYPE_UINT16",
        DataType::Uint32 => "TYPE_UINT32",
        DataType::Uint64 => "TYPE_UINT64",
        DataType::Int8 => "TYPE_INT8",
        DataType::Int16 => "TYPE_INT16",
        DataType::Int32 => "TYPE_INT32",
        DataType::Int64 => "TYPE_INT64",
        DataType::Fp16 => "TYPE_FP16",
        DataType::Bf16 => "TYPE_BF16",
        DataType::Fp32 => "TYPE_FP32",
        DataType::Fp64 => "TYPE_FP64",
        DataType::Bytes => "TYPE_STRING",
    }
}
