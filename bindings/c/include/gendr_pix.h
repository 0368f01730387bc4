/* gendr-pix for C. Generated from src/ by cbindgen: see README.md. */

#ifndef GENDR_PIX_H
#define GENDR_PIX_H

#include <stddef.h>
#include <stdint.h>

// The outcome of a call.
typedef enum GendrPixStatus {
  // Success.
  GENDR_PIX_STATUS_OK = 0,
  // An argument is NULL or invalid.
  GENDR_PIX_STATUS_ARGUMENT = 1,
  // An option is out of range.
  GENDR_PIX_STATUS_OPTION = 2,
  // The picture cannot be used, or the output would be too large.
  GENDR_PIX_STATUS_PICTURE = 3,
  // The weights cannot be read or used.
  GENDR_PIX_STATUS_WEIGHTS = 4,
  // The library failed. This is a bug.
  GENDR_PIX_STATUS_INTERNAL = 5,
  // The program cancelled the call. There is nothing to fix.
  GENDR_PIX_STATUS_CANCELLED = 6,
} GendrPixStatus;

// A token that stops the calls of `gendr_pix_upscale` whose options hold it. Threads may share it.
typedef struct GendrPixCancel GendrPixCancel;

// A model that is ready to run. Threads may share it.
typedef struct GendrPixModel GendrPixModel;

// A picture with 8 bits per channel, sRGB-encoded. Rows run from top to bottom, pixels from left
// to right, with interleaved channels and no gaps.
typedef struct GendrPixPicture {
  // `width * height * channels` bytes.
  uint8_t *data;
  // Width in pixels.
  uint32_t width;
  // Height in pixels.
  uint32_t height;
  // 1: grey, 2: grey and alpha, 3: RGB, 4: RGBA. Alpha is straight (not premultiplied).
  uint32_t channels;
} GendrPixPicture;

// Options of `gendr_pix_upscale`. Start from the defaults that `gendr_pix_options` sets.
//
// Later versions of the library may add options at the end. `size` says which options existed
// when the program was built. The library gives the defaults to options that the program does not
// have. If the program has options that the library does not have, they must be zero, which is
// their default; otherwise the call fails with `GENDR_PIX_STATUS_ARGUMENT`. It also fails if `size`
// is smaller than the struct of the first version, or larger than 4096.
typedef struct GendrPixOptions {
  // `sizeof(GendrPixOptions)`, set by `gendr_pix_options`.
  size_t size;
  // Output side divided by input side, 1 or more. Used if `width` and `height` are 0. Default: 4.
  double scale;
  // Width of the output in pixels, or 0. If only one of `width` and `height` is set, the other
  // keeps the aspect ratio. Default: 0.
  uint32_t width;
  // Height of the output in pixels, or 0. See `width`. Default: 0.
  uint32_t height;
  // Guidance scale: 1 runs one pass; more sharpens by a second pass. Default: NaN, the model's
  // recommendation.
  double guidance;
  // How far the picture may move from the input: 0 is the plain resize, 1 is the model.
  // Default: 1.
  double fidelity;
  // A value other than 0 runs one padding instead of those that the model recommends. With the
  // bundled model this is four times as fast and slightly worse. Default: 0.
  uint8_t fast;
  // Side of a tile in pixels of the output, rounded down to a multiple of 8. 0 enlarges the whole
  // picture at once. Default: 0.
  uint32_t tile;
  // Largest number of pixels of the output. Default: 2^27.
  uint64_t max_output_pixels;
  // Called with the finished share of the work and `user`, many times during a call. The share is
  // above 0, never decreases, and is 1 at the end of a call that succeeds. NULL: no call.
  // Default: NULL.
  //
  // The function runs on the thread that called `gendr_pix_upscale`, and the work waits until it
  // returns. It must return normally: neither a C++ exception nor `longjmp` may leave it.
  void (*progress)(double fraction, void *user);
  // Passed to `progress`. The library does not use it. Default: NULL.
  void *user;
  // A token from `gendr_pix_cancel_new` that stops the call, or NULL. It must not be freed before
  // the call returns. Default: NULL.
  const struct GendrPixCancel *cancel;
} GendrPixOptions;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Creates the bundled model, whose weights are part of this library.
//
// On success `model` is set; free it with `gendr_pix_model_free`. `error` may be NULL. If it is
// not, it is set to NULL on success, and to a message on failure; free the message with
// `gendr_pix_string_free`. All functions that return a status treat `error` like this.
//
// # Safety
//
// `model` and `error` must be NULL or point to writable memory.
enum GendrPixStatus gendr_pix_model_bundled(struct GendrPixModel **model, char **error);

// Loads a bundle file, or a diffusers folder that contains `prompts.safetensors`. `path` is
// UTF-8.
//
// # Safety
//
// As for `gendr_pix_model_bundled`. `path` must be NULL or a zero-terminated string.
enum GendrPixStatus gendr_pix_model_load(const char *path, struct GendrPixModel **model, char **error);

// Frees a model. Does nothing if `model` is NULL.
//
// # Safety
//
// `model` must be NULL or come from this library. No other thread may be using it, and it must
// not be used again.
void gendr_pix_model_free(struct GendrPixModel *model);

// Enlarges a picture into a new one with the same number of channels.
//
// `options` may be NULL for the defaults. On success `output` is set; free its data with
// `gendr_pix_picture_free`. On failure `output` is unchanged. `output` must not be `input`. The
// data of `input` is only read.
//
// If `options->cancel` is cancelled, the call stops at the latest after the operation that is
// running, and returns `GENDR_PIX_STATUS_CANCELLED`. After the last operation it has no effect.
//
// # Safety
//
// `model` must be NULL or a model that has not been freed. `input->data` must point to
// `width * height * channels` bytes. `options`, `output` and `error` must be NULL or point to
// objects of their types, and `options->size` must be the value that `gendr_pix_options` set.
// `options->progress` must be safe to call with `options->user` on this thread, and
// `options->cancel` must be NULL or a token that is not freed before the call returns.
enum GendrPixStatus gendr_pix_upscale(const struct GendrPixModel *model,
                                      const struct GendrPixPicture *input,
                                      const struct GendrPixOptions *options,
                                      struct GendrPixPicture *output,
                                      char **error);

// Creates a token. Never returns NULL. Free the token with `gendr_pix_cancel_free`.
struct GendrPixCancel *gendr_pix_cancel_new(void);

// Cancels the calls of `gendr_pix_upscale` that use the token, now and later. This cannot be
// undone: use a new token for the next picture. Does nothing if `cancel` is NULL.
//
// May be called from any thread, from the progress callback, and from a signal handler.
//
// # Safety
//
// `cancel` must be NULL or a token that has not been freed.
void gendr_pix_cancel(const struct GendrPixCancel *cancel);

// Frees a token. Does nothing if `cancel` is NULL.
//
// # Safety
//
// `cancel` must be NULL or come from `gendr_pix_cancel_new`. No other thread and no running call
// may be using it, and it must not be used again.
void gendr_pix_cancel_free(struct GendrPixCancel *cancel);

// Sets `options` to the defaults. `size` is `sizeof(GendrPixOptions)`. Does nothing if `options`
// is NULL.
//
// # Safety
//
// `options` must be NULL or point to `size` writable bytes.
void gendr_pix_options(struct GendrPixOptions *options, size_t size);

// Frees the data of a picture that `gendr_pix_upscale` made, and sets `data` to NULL. Does
// nothing if `picture` is NULL.
//
// # Safety
//
// `picture` must be NULL or point to a picture whose data is NULL or comes from this library, with
// its width, height and channels unchanged.
void gendr_pix_picture_free(struct GendrPixPicture *picture);

// Frees a message that a call returned through `error`. Does nothing if `string` is NULL.
//
// # Safety
//
// `string` must be NULL or come from this library, and must not be used again.
void gendr_pix_string_free(char *string);

// Returns the version of the library that is running, such as "0.1.0". The string is static: do
// not free it.
const char *gendr_pix_version(void);

// Returns the version of the library that is running as a number that grows with each version:
// `major * 1000000 + minor * 1000 + patch`. Version 1.2.3 is 1002003.
uint32_t gendr_pix_version_number(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* GENDR_PIX_H */
