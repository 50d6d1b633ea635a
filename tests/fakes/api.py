"""TensorRT's Python interface, as far as the fake has it: taken from NVIDIA's own bindings, not from the fake.

Source: NVIDIA/TensorRT, python/src/infer/py{Core,Graph,FoundationalTypes}.cpp and python/src/parsers/pyOnnx.cpp of
10.13; what is gone in 11: the migration guide of 11.4. The tests hold the fake against this list, compare_with_real.py
holds the list against a real library (done with 8.6.0, the newest that PyPI has whole).

    Class.method(parameters)     Class.property     Enumeration: MEMBER ...      each with the versions that have it
"""

import re
from dataclasses import dataclass

LIST = """
Builder(logger)
Builder.build_serialized_network(network, config)
Builder.create_builder_config()
Builder.create_network(flags)
Builder.create_optimization_profile()
Builder.is_network_supported(network, config)
Builder.logger
Builder.max_threads
Builder.platform_has_tf32                                    -11
IBuilderConfig.add_optimization_profile(profile)
IBuilderConfig.avg_timing_iterations
IBuilderConfig.builder_optimization_level
IBuilderConfig.clear_flag(flag)
IBuilderConfig.create_timing_cache(serialized_timing_cache)
IBuilderConfig.flags
IBuilderConfig.get_flag(flag)
IBuilderConfig.get_memory_pool_limit(pool)
IBuilderConfig.get_timing_cache()
IBuilderConfig.hardware_compatibility_level
IBuilderConfig.max_aux_streams
IBuilderConfig.num_optimization_profiles
IBuilderConfig.profile_stream
IBuilderConfig.profiling_verbosity
IBuilderConfig.progress_monitor                              10-
IBuilderConfig.reset()
IBuilderConfig.set_flag(flag)
IBuilderConfig.set_memory_pool_limit(pool, pool_size)
IBuilderConfig.set_timing_cache(cache, ignore_mismatch)
IOptimizationProfile.extra_memory_target
IOptimizationProfile.get_shape(input)
IOptimizationProfile.set_shape(input, min, opt, max)
IProgressMonitor()                                           10-
IProgressMonitor.phase_start(phase_name, parent_phase, num_steps)    10-
IProgressMonitor.step_complete(phase_name, step)             10-
IProgressMonitor.phase_finish(phase_name)                    10-
ITimingCache.combine(input_cache, ignore_mismatch)
ITimingCache.reset()
ITimingCache.serialize()
INetworkDefinition.get_flag(flag)                            10-
INetworkDefinition.flags                                     10-
INetworkDefinition.get_input(index)
INetworkDefinition.get_output(index)
INetworkDefinition.name
INetworkDefinition.num_inputs
INetworkDefinition.num_layers
INetworkDefinition.num_outputs
ITensor.dtype
ITensor.is_execution_tensor
ITensor.is_network_input
ITensor.is_network_output
ITensor.is_shape_tensor
ITensor.name
ITensor.shape
OnnxParser(network, logger)
OnnxParser.clear_errors()
OnnxParser.clear_flag(flag)                                  10-
OnnxParser.flags                                             10-
OnnxParser.get_error(index)
OnnxParser.get_flag(flag)                                    10-
OnnxParser.get_used_vc_plugin_libraries()
OnnxParser.num_errors
OnnxParser.parse(model, path)
OnnxParser.parse_from_file(model)
OnnxParser.set_flag(flag)                                    10-
OnnxParser.supports_model_v2(model, path)                    10-
OnnxParser.supports_operator(op_name)
ParserError.code()
ParserError.desc()
ParserError.file()
ParserError.func()
ParserError.line()
ParserError.local_function_stack()                           10-
ParserError.local_function_stack_size()                      10-
ParserError.node()
ParserError.node_name()                                      10-
ParserError.node_operator()                                  10-
Runtime(logger)
Runtime.deserialize_cuda_engine(serialized_engine)
Runtime.engine_host_code_allowed
Runtime.logger
Runtime.max_threads
ICudaEngine.create_execution_context(strategy)               10-
ICudaEngine.create_execution_context_without_device_memory() -11
ICudaEngine.device_memory_size                               -11
ICudaEngine.device_memory_size_v2                            10-
ICudaEngine.get_device_memory_size_for_profile(profile_index)    10-11
ICudaEngine.get_device_memory_size_for_profile_v2(profile_index) 10-
ICudaEngine.get_tensor_bytes_per_component(name)
ICudaEngine.get_tensor_dtype(name)
ICudaEngine.get_tensor_format(name)
ICudaEngine.get_tensor_location(name)
ICudaEngine.get_tensor_mode(name)
ICudaEngine.get_tensor_name(index)
ICudaEngine.get_tensor_profile_shape(name, profile_index)
ICudaEngine.get_tensor_shape(name)
ICudaEngine.is_shape_inference_io(name)
ICudaEngine.name
ICudaEngine.num_aux_streams
ICudaEngine.num_io_tensors
ICudaEngine.num_layers
ICudaEngine.num_optimization_profiles
ICudaEngine.profiling_verbosity
ICudaEngine.refittable
ICudaEngine.serialize()
IExecutionContext.active_optimization_profile
IExecutionContext.all_binding_shapes_specified
IExecutionContext.all_shape_inputs_specified
IExecutionContext.debug_sync
IExecutionContext.device_memory
IExecutionContext.engine
IExecutionContext.enqueue_emits_profile
IExecutionContext.execute_async_v3(stream_handle)
IExecutionContext.get_max_output_size(name)
IExecutionContext.get_tensor_address(name)
IExecutionContext.get_tensor_shape(name)
IExecutionContext.infer_shapes()
IExecutionContext.name
IExecutionContext.set_device_memory(memory, size)            10-
IExecutionContext.set_input_shape(name, shape)
IExecutionContext.set_optimization_profile_async(profile_index, stream_handle)
IExecutionContext.set_tensor_address(name, memory)
IExecutionContext.update_device_memory_size_for_shapes()     10-
IHostMemory.dtype
IHostMemory.nbytes
ILogger()
ILogger.log(severity, msg)
Logger(min_severity)
Logger.log(severity, msg)
Logger.min_severity
Dims(shape)
init_libnvinfer_plugins(logger, namespace)
nptype(trt_type)
volume(iterable)
DataType: FLOAT HALF INT8 INT32 BOOL UINT8 FP8
DataType: BF16 INT64 INT4 FP4 E8M0                           10-
ILogger.Severity: INTERNAL_ERROR ERROR WARNING INFO VERBOSE
MemoryPoolType: WORKSPACE DLA_MANAGED_SRAM DLA_LOCAL_DRAM DLA_GLOBAL_DRAM TACTIC_DRAM
MemoryPoolType: TACTIC_SHARED_MEMORY                         10-
TensorIOMode: NONE INPUT OUTPUT
TensorLocation: DEVICE HOST
ProfilingVerbosity: LAYER_NAMES_ONLY NONE DETAILED
HardwareCompatibilityLevel: NONE AMPERE_PLUS
HardwareCompatibilityLevel: SAME_COMPUTE_CAPABILITY          10-
ExecutionContextAllocationStrategy: STATIC ON_PROFILE_CHANGE USER_MANAGED    10-
NetworkDefinitionCreationFlag: EXPLICIT_BATCH                -11
NetworkDefinitionCreationFlag: STRONGLY_TYPED PREFER_AOT_PYTHON_PLUGINS PREFER_JIT_PYTHON_PLUGINS    10-
OnnxParserFlag: NATIVE_INSTANCENORM                          10-
ErrorCode: SUCCESS INTERNAL_ERROR MEM_ALLOC_FAILED MODEL_DESERIALIZE_FAILED INVALID_VALUE INVALID_GRAPH INVALID_NODE
ErrorCode: UNSUPPORTED_GRAPH UNSUPPORTED_NODE
ErrorCode: UNSUPPORTED_NODE_ATTR UNSUPPORTED_NODE_INPUT UNSUPPORTED_NODE_DATATYPE UNSUPPORTED_NODE_DYNAMIC    10-
ErrorCode: UNSUPPORTED_NODE_SHAPE REFIT_FAILED               10-
BuilderFlag: DEBUG GPU_FALLBACK REFIT DISABLE_TIMING_CACHE TF32 SPARSE_WEIGHTS SAFETY_SCOPE DIRECT_IO
BuilderFlag: VERSION_COMPATIBLE EXCLUDE_LEAN_RUNTIME
BuilderFlag: FP16 INT8 FP8 OBEY_PRECISION_CONSTRAINTS PREFER_PRECISION_CONSTRAINTS REJECT_EMPTY_ALGORITHMS    -11
BuilderFlag: BF16 INT4 FP4                                   10-11
BuilderFlag: STRIP_PLAN STRICT_NANS MONITOR_MEMORY EDITABLE_TIMING_CACHE ERROR_ON_TIMING_CACHE_MISS    10-
"""
LINE = re.compile(r"(?P<name>[\w.]+)(?P<rest>\(.*?\)|:(?: [A-Z0-9_]+)+|)\s*(?P<versions>(?:\d+)?-(?:\d+)?)?$")


@dataclass(frozen=True, slots=True)
class Entry:
    name: str
    """With dots: Class.member, or what stands in the module itself."""
    parameters: tuple[str, ...] | None
    """None for what is not called."""
    members: tuple[str, ...]
    """Of an enumeration."""
    first: int
    before: int
    """Versions that have it: first <= major < before."""

    def holds(self, major: int) -> bool:
        return self.first <= major < self.before


def entries() -> list[Entry]:
    return [_entry(line) for line in LIST.strip().splitlines()]


def _entry(line: str) -> Entry:
    match = LINE.match(line.strip())
    if match is None:
        raise ValueError(f"no entry of the list: {line}")
    rest = match["rest"]
    first, _, before = (match["versions"] or "-").partition("-")
    called = tuple(filter(None, (part.strip() for part in rest[1:-1].split(",")))) if rest.startswith("(") else None
    members = tuple(rest[1:].split()) if rest.startswith(":") else ()
    return Entry(match["name"], called, members, int(first or 0), int(before or 99))
