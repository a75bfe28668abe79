set(BUILD_TESTING ON)

# Copies SCRIPTS and RESOURCES from the current folder to DESTINATION_DIR and installs that folder.
macro(ctkMacroCompilePythonScript)
  cmake_parse_arguments(PYTHON
    "NO_INSTALL_SUBDIR;GLOBAL_TARGET" "TARGET_NAME;SOURCE_DIR;DESTINATION_DIR;INSTALL_DIR" "SCRIPTS;RESOURCES" ${ARGN})
  foreach(argument TARGET_NAME SCRIPTS DESTINATION_DIR INSTALL_DIR)
    if(NOT DEFINED PYTHON_${argument})
      message(FATAL_ERROR "${argument} is mandatory")
    endif()
  endforeach()
  if(PYTHON_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "unknown arguments: ${PYTHON_UNPARSED_ARGUMENTS}")
  endif()
  foreach(file ${PYTHON_SCRIPTS} ${PYTHON_RESOURCES})
    if(IS_ABSOLUTE ${file} OR NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${file})
      message(FATAL_ERROR "${file} is not in ${CMAKE_CURRENT_SOURCE_DIR}")
    endif()
    configure_file(${CMAKE_CURRENT_SOURCE_DIR}/${file} ${PYTHON_DESTINATION_DIR}/${file} COPYONLY)
  endforeach()
  if(PYTHON_NO_INSTALL_SUBDIR)
    set(PYTHON_DESTINATION_DIR ${PYTHON_DESTINATION_DIR}/)
  endif()
  install(DIRECTORY "${PYTHON_DESTINATION_DIR}" DESTINATION "${PYTHON_INSTALL_DIR}")
  add_custom_target(${PYTHON_TARGET_NAME}) # two of one name are an error
endmacro()

macro(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MODULE "WITH_GENERIC_TESTS;WITH_SUBDIR;VERBOSE" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  if(MODULE_UNPARSED_ARGUMENTS OR NOT DEFINED MODULE_NAME)
    message(FATAL_ERROR "unknown arguments (${MODULE_UNPARSED_ARGUMENTS}) or no NAME")
  endif()
  ctkMacroCompilePythonScript(
    TARGET_NAME ${MODULE_NAME}
    SCRIPTS "${MODULE_SCRIPTS}"
    RESOURCES "${MODULE_RESOURCES}"
    DESTINATION_DIR ${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}
    INSTALL_DIR ${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}
    NO_INSTALL_SUBDIR
    )
endmacro()

# Notes the test in tests.txt of the build folder.
macro(slicer_add_python_unittest)
  cmake_parse_arguments(UNITTEST "" "SCRIPT;TESTNAME_PREFIX" "SLICER_ARGS" ${ARGN})
  if(UNITTEST_UNPARSED_ARGUMENTS OR NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${UNITTEST_SCRIPT})
    message(FATAL_ERROR "unknown arguments (${UNITTEST_UNPARSED_ARGUMENTS}) or no ${UNITTEST_SCRIPT}")
  endif()
  file(APPEND ${CMAKE_BINARY_DIR}/tests.txt "${UNITTEST_SCRIPT}\n")
endmacro()
