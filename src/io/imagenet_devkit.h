// The class numbering of ILSVRC2012's development kit, which is not the models'. It must
// not be used for anything but the devkit's own files.
#pragma once

namespace bitlog2 {

/// Class index of the devkit's ILSVRC2012_ID `id`, or -1 if `id` is not in 1..1000.
int class_of_devkit_id(int id);

}  // namespace bitlog2
