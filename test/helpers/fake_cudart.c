// CUDA's runtime as sartm_core/deploy/cuda.py uses it, on a host: "device" memory is poisoned host memory, and a stream
// does nothing before it is synchronised, so that a missing launch or synchronisation shows in the results.
//
//   FAKE_CUDA_DEVICES     number of GPUs (default 1)
//   FAKE_CUDA_NAME        of the GPU (default "Fake GPU")
//   FAKE_CUDA_CAPABILITY  such as 8.7
//   FAKE_CUDA_SMS         number of multiprocessors (default 16)
//   FAKE_CUDA_GIB         of its memory, such as 61.4 (default 15.3)
//   FAKE_CUDA_DRIVER      CUDA's version that the driver serves, as CUDA writes it: 12020; 0: there is no driver
//   FAKE_CUDA_STATUS      what cudaGetDeviceCount answers where the driver is new enough
//   FAKE_CUDA_FAILS       a function that fails as if the GPU's memory was full
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, CAPTURE_FORBIDS = 900 };
#ifndef RUNTIME  // its version
#define RUNTIME 12090
#endif
enum { INSUFFICIENT_DRIVER = 35, NO_DEVICE = 100 };
enum { HOST_TO_DEVICE = 1, DEVICE_TO_HOST = 2 };
enum { MAX_BLOCKS = 4096, NAME_SIZE = 256, POISON = 0xA5 };

typedef struct {
    void (*function)(void *);  // NULL: a copy
    void *argument, *to;
    const void *from;
    size_t size;
} Work;

typedef struct {
    Work *items;
    size_t count, room;
} List;

typedef struct {
    int capturing;
    List queue, captured;
} Stream;

typedef struct {
    char *begin;
    size_t size;
    int on_device;
} Block;

static Block blocks[MAX_BLOCKS];
static int block_count, allocation_count, capture_count;

static int fails(const char *name) {
    const char *wanted = getenv("FAKE_CUDA_FAILS");
    return wanted != NULL && strcmp(wanted, name) == 0;
}

static void append(List *list, Work work) {
    if (list->count == list->room) {
        list->room = list->room ? 2 * list->room : 16;
        list->items = realloc(list->items, list->room * sizeof(Work));
    }
    list->items[list->count++] = work;
}

static int allocate(void **pointer, size_t size, int on_device) {
    if (block_count == MAX_BLOCKS) return OUT_OF_MEMORY;
    *pointer = malloc(size ? size : 1);
    memset(*pointer, POISON, size);
    allocation_count++;
    blocks[block_count++] = (Block){*pointer, size, on_device};
    return SUCCESS;
}

static size_t room(const void *address, int on_device) {
    const char *where = address;
    for (int i = 0; i < block_count; i++)
        if (blocks[i].on_device == on_device && where >= blocks[i].begin && where < blocks[i].begin + blocks[i].size)
            return (size_t)(blocks[i].begin + blocks[i].size - where);
    return 0;
}

// Bytes from this address to the end of its device memory; 0 where it is none.
size_t fake_device_room(const void *address) { return room(address, 1); }

int fake_is_capturing(Stream *stream) { return stream->capturing; }

// A kernel: runs in the stream's turn, again at each launch where it was captured.
void fake_enqueue(Stream *stream, void (*function)(void *), void *argument) {
    append(stream->capturing ? &stream->captured : &stream->queue, (Work){function, argument, NULL, NULL, 0});
}

int cudaDriverGetVersion(int *version) {
    const char *driver = getenv("FAKE_CUDA_DRIVER");
    *version = driver ? atoi(driver) : RUNTIME;
    return SUCCESS;
}

int cudaRuntimeGetVersion(int *version) {
    *version = RUNTIME;
    return SUCCESS;
}

// As the real one, which says so of a driver that is not there, too; a major version is served as a whole.
int cudaGetDeviceCount(int *count) {
    const char *devices = getenv("FAKE_CUDA_DEVICES"), *status = getenv("FAKE_CUDA_STATUS");
    int driver;
    cudaDriverGetVersion(&driver);
    *count = 0;
    if (driver / 1000 < RUNTIME / 1000) return INSUFFICIENT_DRIVER;
    if (status) return atoi(status);
    *count = devices ? atoi(devices) : 1;
    return *count ? SUCCESS : NO_DEVICE;
}

int cudaMemGetInfo(size_t *free, size_t *total) {
    const char *gib = getenv("FAKE_CUDA_GIB");
    *total = (size_t)((gib ? atof(gib) : 15.3) * (1 << 30));
    *free = *total / 2;
    return SUCCESS;
}

int cudaGetDeviceProperties_v2(char *properties, int device) {
    const char *name = getenv("FAKE_CUDA_NAME");
    snprintf(properties, NAME_SIZE, "%s", name ? name : "Fake GPU");
    return device == 0 ? SUCCESS : INVALID_VALUE;
}

int cudaDeviceGetAttribute(int *value, int attribute, int device) {
    const char *capability = getenv("FAKE_CUDA_CAPABILITY"), *sms = getenv("FAKE_CUDA_SMS");
    int major = 8, minor = 7;
    if (capability) sscanf(capability, "%d.%d", &major, &minor);
    if (device != 0) return INVALID_VALUE;
    switch (attribute) {
    case 16: *value = sms ? atoi(sms) : 16; return SUCCESS;
    case 75: *value = major; return SUCCESS;
    case 76: *value = minor; return SUCCESS;
    default: return INVALID_VALUE;
    }
}

const char *cudaGetErrorString(int status) {
    switch (status) {
    case INVALID_VALUE: return "invalid argument";
    case OUT_OF_MEMORY: return "out of memory";
    case CAPTURE_FORBIDS: return "operation not permitted when stream is capturing";
    default: return "unknown error";
    }
}

int cudaMalloc(void **pointer, size_t size) {
    return fails("cudaMalloc") ? OUT_OF_MEMORY : allocate(pointer, size, 1);
}

int cudaHostAlloc(void **pointer, size_t size, unsigned flags) {
    (void)flags;
    return fails("cudaHostAlloc") ? OUT_OF_MEMORY : allocate(pointer, size, 0);
}

static int release(void *pointer, int on_device) {
    for (int i = 0; i < block_count; i++)
        if (blocks[i].begin == pointer && blocks[i].on_device == on_device) {
            free(pointer);
            blocks[i] = blocks[--block_count];
            return SUCCESS;
        }
    return INVALID_VALUE;
}

int cudaFree(void *pointer) { return release(pointer, 1); }

int cudaFreeHost(void *pointer) { return release(pointer, 0); }

// Blocks that nobody has given back.
int fake_blocks(void) { return block_count; }

// What has ever been allocated, page-locked or on the device, and captured.
int fake_allocations(void) { return allocation_count; }

int fake_captures(void) { return capture_count; }

int cudaStreamCreateWithFlags(Stream **stream, unsigned flags) {
    (void)flags;
    *stream = calloc(1, sizeof(Stream));
    return SUCCESS;
}

int cudaMemcpyAsync(void *to, const void *from, size_t size, int kind, Stream *stream) {
    // Both ends must be whole inside memory of this runtime: what is not page-locked is never copied.
    if (kind != HOST_TO_DEVICE && kind != DEVICE_TO_HOST) return INVALID_VALUE;
    if (room(to, kind == HOST_TO_DEVICE) < size || room(from, kind == DEVICE_TO_HOST) < size) return INVALID_VALUE;
    append(stream->capturing ? &stream->captured : &stream->queue, (Work){NULL, NULL, to, from, size});
    return SUCCESS;
}

int cudaStreamSynchronize(Stream *stream) {
    if (stream->capturing) return CAPTURE_FORBIDS;
    for (size_t i = 0; i < stream->queue.count; i++) {
        Work *work = &stream->queue.items[i];
        if (work->function)
            work->function(work->argument);
        else
            memcpy(work->to, work->from, work->size);
    }
    stream->queue.count = 0;
    return SUCCESS;
}

int cudaStreamBeginCapture(Stream *stream, int mode) {
    (void)mode;
    if (stream->capturing) return INVALID_VALUE;
    stream->capturing = 1;
    capture_count++;
    stream->captured = (List){0};
    return SUCCESS;
}

int cudaStreamEndCapture(Stream *stream, List **graph) {
    if (!stream->capturing) return INVALID_VALUE;
    stream->capturing = 0;
    *graph = malloc(sizeof(List));
    **graph = stream->captured;
    return SUCCESS;
}

int cudaGraphInstantiateWithFlags(List **executable, List *graph, unsigned long long flags) {
    (void)flags;
    *executable = graph;
    return graph ? SUCCESS : INVALID_VALUE;
}

// The executable is the graph itself here.
int cudaGraphDestroy(List *graph) { return graph ? SUCCESS : INVALID_VALUE; }

int cudaGraphExecDestroy(List *executable) {
    free(executable->items);
    free(executable);
    return SUCCESS;
}

int cudaStreamDestroy(Stream *stream) {
    free(stream->queue.items);
    free(stream);
    return SUCCESS;
}

int cudaGraphLaunch(List *executable, Stream *stream) {
    if (fails("cudaGraphLaunch")) return OUT_OF_MEMORY;
    if (executable == NULL || stream->capturing) return INVALID_VALUE;
    for (size_t i = 0; i < executable->count; i++) append(&stream->queue, executable->items[i]);
    return SUCCESS;
}
