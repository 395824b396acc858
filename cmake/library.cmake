# Libraries for other projects, static or (with BUILD_SHARED_LIBS) shared, and their packages for
# CMake and pkg-config.
include(CMakePackageConfigHelpers)

# bitlog2_library(NAME MODULES MODULE... LANGUAGE LINKER_LANGUAGE LIBRARIES LIBRARY...)
#
# Defines the target bitlog2::NAME, a library of the objects of these modules.
function(bitlog2_library name)
  cmake_parse_arguments(LIBRARY "" "LANGUAGE" "MODULES;LIBRARIES" ${ARGN})
  set(target bitlog2_library_${name})
  set(output bitlog2_${name})
  if(name STREQUAL bitlog2)
    set(output bitlog2)
  endif()
  set(objects)
  foreach(module ${LIBRARY_MODULES})
    list(APPEND objects $<TARGET_OBJECTS:bitlog2_${module}>)
    # The module's own archive is only for this build. It is in another folder, because it may have the
    # library's name.
    set_target_properties(bitlog2_${module} PROPERTIES
      ARCHIVE_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/modules)
  endforeach()
  add_library(${target} ${objects})
  add_library(bitlog2::${name} ALIAS ${target})
  set(exported ${PROJECT_SOURCE_DIR}/cmake/${output}.exports)
  # While the version is 0.x, each minor version may change the interface.
  set_target_properties(${target} PROPERTIES
    OUTPUT_NAME ${output} EXPORT_NAME ${name} LINKER_LANGUAGE ${LIBRARY_LANGUAGE}
    VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}
    LINK_DEPENDS ${exported})
  target_include_directories(${target} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
                                              $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_link_libraries(${target} PRIVATE ${LIBRARY_LIBRARIES})
  if(LIBRARY_LANGUAGE STREQUAL CXX)
    target_compile_features(${target} PUBLIC cxx_std_20)
  endif()
  if(BUILD_SHARED_LIBS)
    target_link_options(${target} PRIVATE LINKER:--version-script=${exported})
    if(NOT BITLOG2_SANITIZE)
      target_link_options(${target} PRIVATE LINKER:--no-undefined)
    endif()
  endif()
endfunction()

# bitlog2_install_library(NAME PACKAGE): installs the library bitlog2::NAME and the files that
# find_package(PACKAGE) and pkg-config read, as the install component PACKAGE.
function(bitlog2_install_library name package)
  set(folder ${CMAKE_INSTALL_LIBDIR}/cmake/${package})
  install(TARGETS bitlog2_library_${name} EXPORT ${package}
          LIBRARY COMPONENT ${package} ARCHIVE COMPONENT ${package})
  install(EXPORT ${package} FILE ${package}Targets.cmake NAMESPACE bitlog2::
          DESTINATION ${folder} COMPONENT ${package})

  set(packages ${PROJECT_BINARY_DIR}/packages)
  list(JOIN BITLOG2_FILE_MODULES " " image_modules)
  configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/${package}Config.cmake.in
    ${packages}/${package}Config.cmake INSTALL_DESTINATION ${folder})
  write_basic_package_version_file(${packages}/${package}ConfigVersion.cmake
    COMPATIBILITY SameMinorVersion)
  install(FILES ${packages}/${package}Config.cmake ${packages}/${package}ConfigVersion.cmake
          DESTINATION ${folder} COMPONENT ${package})

  # pkg-config: users of a static library must also link the libraries that it uses; users of a shared
  # one need not.
  set(private)
  if(BUILD_SHARED_LIBS)
    set(private .private)
  endif()
  set(gif)
  if(BITLOG2_GIF)
    set(gif "-lgif ")
  endif()
  string(REPLACE ">=" " >= " image_modules "${image_modules}")
  # The path from the file to the prefix, so that the installed tree can be moved.
  file(RELATIVE_PATH prefix ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
  string(REGEX REPLACE "/$" "" prefix ${prefix})
  configure_file(${PROJECT_SOURCE_DIR}/cmake/${package}.pc.in ${packages}/${package}.pc @ONLY)
  install(FILES ${packages}/${package}.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig
          COMPONENT ${package})
endfunction()
