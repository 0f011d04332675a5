#!/usr/bin/env bash
# Builds the Python message packages that the package index lacks (message_packages.py defines them) into VENV/messages,
# with the generators that come with rclpy and a C++ compiler. Kept until the definitions, ROS or Python change.
# PYTHONPATH=VENV/messages makes them importable; without it, they are not installed as far as VENV is concerned.
#
# Usage: requirements/messages.sh VENV
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
venv=$(cd "$1" && pwd)
python=$venv/bin/python
say() { printf '[messages] %s\n' "$*"; }
fail() { printf '[messages] error: %s\n' "$*" >&2; exit 1; }

wheels=("$venv"/lib/python3*/site-packages/{numpy-,ros_}*.dist-info)
key=$( (cat "$here"/message{s.sh,_packages.py} "$here/../sartm_ros/bag/types.py"; "$python" --version; echo "${wheels[@]##*/}") | sha256sum)
if [ "$(cat "$venv/messages/.complete" 2>/dev/null)" = "$key" ]; then
    exit 0
fi
[ -d "$venv/share/rosidl_generator_py" ] || fail "$venv has no ROS 2 packages. Run: make setup"
for compiler in gcc g++; do
    command -v "$compiler" >/dev/null || fail "'$compiler' was not found. Install a C++ compiler (apt install g++)"
done
{ read -r headers && read -r numpy && read -r suffix; } < <("$python" -c 'import sysconfig, numpy
print(sysconfig.get_path("include"), numpy.get_include(), sysconfig.get_config_var("EXT_SUFFIX"), sep="\n")')
[ -f "$headers/Python.h" ] || fail "$headers/Python.h was not found. Install Python's headers (apt install python3-dev)"

work=$(mktemp -d "$venv/messages.XXXXXX")
trap 'rm -rf "$work"' EXIT
say "generating sources"
output=$(AMENT_PREFIX_PATH=$venv "$python" "$here/message_packages.py" "$venv" "$work" 2>&1) || fail "$output"
libraries=("$venv"/lib/lib*.so)
includes=("$work" "$work/introspection" "$headers" "$numpy" "$venv"/include/{*/,})
library() {  # library NAME SOURCES OPTION...: links the C and C++ files below a folder into a library of that name
    local sources name=$1
    mapfile -t sources < <(find "$2" -name '*.c' -o -name '*.cpp')
    shift 2
    output=$(gcc -shared -fPIC -O1 "${includes[@]/#/-I}" "${sources[@]}" -Wl,-soname,"$name" "$@" \
        -Wl,--as-needed "${libraries[@]}" -lstdc++ 2>&1) || fail "$output"
}
for package in "$work"/*_msgs; do
    name=${package##*/}
    say "compiling $name"
    # rcl asks for the libraries of the two implementations by name: loaded with the module, they need no search path.
    introspection=lib${name}__rosidl_typesupport_introspection_c.so
    library "$introspection" "$work/introspection/$name" -o "$package/$introspection"
    library "lib${name}__rosidl_typesupport_fastrtps_c.so" "$package" -Wl,--no-as-needed "$package/$introspection" \
        -Wl,-rpath,"\$ORIGIN" -o "$package/${name}_s__rosidl_typesupport_c$suffix"
    PYTHONPATH=$work "$python" -c "import $name.${name}_s__rosidl_typesupport_c"
done
rm -rf "$work/introspection"
find "$work" -type f ! -name '*.py' ! -name '*.so' -delete
find "$work" -type d -empty -delete
echo "$key" >"$work/.complete"
chmod 755 "$work"
rm -rf "$venv/messages"
mv -T "$work" "$venv/messages"
say "done: PYTHONPATH=$venv/messages"
