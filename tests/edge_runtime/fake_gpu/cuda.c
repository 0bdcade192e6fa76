/* A libcuda.so.1 whose device memory is plain memory and whose stream is done at once. It counts
   what is not freed and whether the context is current, and says so through fake_left(). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

typedef int R;
static int left, depth, misuse;
#define NEEDS_CONTEXT if (!depth) { misuse++; return 201; }

int fake_left(void) { return left; }
int fake_depth(void) { return depth; }
int fake_misuse(void) { return misuse; }

R cuInit(unsigned f) { return getenv("FAKE_NO_GPU") ? 100 : 0; }
R cuDriverGetVersion(int *v) { *v = 13000; return 0; }
R cuDeviceGet(int *d, int n) { *d = 0; return 0; }
R cuDeviceGetName(char *s, int n, int d) { strncpy(s, "Fake GPU", n); return 0; }
R cuDeviceGetAttribute(int *v, int a, int d) { *v = a == 75 ? 8 : a == 76 ? 7 : 0; return 0; }
R cuDevicePrimaryCtxRetain(void **c, int d) { left++; *c = &left; return 0; }
R cuDevicePrimaryCtxRelease_v2(int d) { left--; return 0; }
R cuCtxPushCurrent_v2(void *c) { depth++; return 0; }
R cuCtxPopCurrent_v2(void **c) { depth--; *c = &left; return 0; }
R cuStreamCreate(void **s, unsigned f) { NEEDS_CONTEXT left++; *s = &depth; return 0; }
R cuStreamDestroy_v2(void *s) { NEEDS_CONTEXT left--; return 0; }
R cuStreamSynchronize(void *s) { NEEDS_CONTEXT return 0; }
R cuMemAlloc_v2(void **p, size_t n) {
  NEEDS_CONTEXT
  if (n > (1u << 30)) return 2;
  left++; *p = malloc(n); return 0;
}
R cuMemFree_v2(void *p) { NEEDS_CONTEXT left--; free(p); return 0; }
R cuMemHostAlloc(void **p, size_t n, unsigned f) { NEEDS_CONTEXT left++; *p = malloc(n); return 0; }
R cuMemFreeHost(void *p) { NEEDS_CONTEXT left--; free(p); return 0; }
R cuMemcpyHtoDAsync_v2(void *d, const void *h, size_t n, void *s) {
  NEEDS_CONTEXT memcpy(d, h, n); return 0;
}
R cuMemcpyDtoHAsync_v2(void *h, const void *d, size_t n, void *s) {
  NEEDS_CONTEXT memcpy(h, d, n); return 0;
}
R cuGetProcAddress_v2(const char *name, void **p, int v, unsigned long long f, int *status) {
  void *self = dlopen("libcuda.so.1", RTLD_NOLOAD | RTLD_NOW);
  char second[128];
  strncpy(second, name, 100); second[100] = 0; strcat(second, "_v2");
  *p = dlsym(self, second);
  if (!*p) *p = dlsym(self, name);
  if (status) *status = *p ? 0 : 1;
  return *p ? 0 : 500;
}
R cuGetProcAddress(const char *name, void **p, int v, unsigned long long f) {
  return cuGetProcAddress_v2(name, p, v, f, 0);
}
