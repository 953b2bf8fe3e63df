# Reference models: every folder of models/hf and models/quant, every form of models/gguf, and the
# real one. Each runs under mpirun on 1 to 4 ranks: RUN_SERIAL, since two cores hold no more.
function(golden_test name)
  # The interpreter with numpy and h5py is named at test time.
  add_test(NAME golden.${name} COMMAND sh -c "exec \"\${DINFER_PYTHON:-python3}\" \"$@\"" sh ${ARGN})
  set_tests_properties(golden.${name} PROPERTIES
    ENVIRONMENT DINFER_BINARY=$<TARGET_FILE:dinfer>
    RUN_SERIAL ON TIMEOUT 900 SKIP_RETURN_CODE 77 LABELS golden)
endfunction()

set(here ${CMAKE_CURRENT_SOURCE_DIR})
foreach(kind hf quant)
  file(GLOB folders RELATIVE ${here}/models/${kind} ${here}/models/${kind}/*)
  foreach(model ${folders})
    golden_test(${kind}.${model} ${here}/golden.py ${here}/models/${kind}/${model})
  endforeach()
endforeach()
foreach(model mixtral qwen3-moe)
  golden_test(gguf_experts.${model} ${here}/gguf_experts.py ${here}/models/hf/${model})
endforeach()
file(GLOB forms RELATIVE ${here}/models/gguf ${here}/models/gguf/*/*.gguf)
foreach(form ${forms})
  get_filename_component(folder ${form} DIRECTORY)
  get_filename_component(file ${form} NAME)
  golden_test(gguf.${file} ${here}/golden.py ${here}/models/gguf/${folder} ${file})
endforeach()
golden_test(real ${here}/real_model.py)
golden_test(random ${here}/random_models.py)
golden_test(gpus ${here}/golden_gpus.py)
