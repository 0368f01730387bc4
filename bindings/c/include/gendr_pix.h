/* gendr-pix for C. Generated from src/ by cbindgen: see README.md. */

#ifndef GENDR_PIX_H
#define GENDR_PIX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// How a call ended.
typedef enum GendrPixStatus {
  // It did what it is for.
  GENDR_PIX_STATUS_OK = 0,
  // An argument is NULL or not what it should be.
  GENDR_PIX_STATUS_ARGUMENT = 1,
  // An option is out of range.
  GENDR_PIX_STATUS_OPTION = 2,
  // The picture cannot be used, or the output would be too large.
  GENDR_PIX_STATUS_PICTURE = 3,
  // The weights cannot be read or used.
  GENDR_PIX_STATUS_WEIGHTS = 4,
  // The library failed: a bug.
  GENDR_PIX_STATUS_INTERNAL = 5,
} GendrPixStatus;

// A model, ready to run. Threads may share it.
typedef struct GendrPixModel GendrPixModel;

// A picture of 8 bits a channel, sRGB-encoded: row after row from the top, pixels from left to right, their channels side by
// side, without gaps.
typedef struct GendrPixPicture {
  // `width * height * channels` bytes.
  uint8_t *data;
  // Pixels of a row.
  uint32_t width;
  // Rows.
  uint32_t height;
  // 1: grey, 2: grey and alpha, 3: RGB, 4: RGBA (alpha is not multiplied in).
  uint32_t channels;
} GendrPixPicture;

// Options of `gendr_pix_upscale`. Start from the defaults, by `gendr_pix_options`.
//
// Later versions of the library may know more, at the end: `size` tells which there were when the program was built, and
// the others have their defaults.
typedef struct GendrPixOptions {
  // `sizeof(GendrPixOptions)`, set by `gendr_pix_options`.
  size_t size;
  // Output sides over input sides, from 1 up, where `width` and `height` are 0. Default: 4.
  double scale;
  // Width of the output in pixels; where `height` is 0, that follows. Default: 0, unset.
  uint32_t width;
  // Height of the output in pixels; where `width` is 0, that follows. Default: 0, unset.
  uint32_t height;
  // 1 runs one pass, more sharpens by a second pass. Default: NaN, the model's recommendation.
  double guidance;
  // How far the picture may move from the input: 0 is the plain resize, 1 the model. Default: 1.
  double fidelity;
  // Whether to run one padding rather than those that the model recommends: four times as fast with the bundled
  // model, and a little worse. Default: false.
  bool fast;
  // Sides of tiles in pixels of the output, rounded down to a multiple of 8; 0 is the whole picture at once. Default: 0.
  uint32_t tile;
  // Most pixels of the output. Default: 2^27.
  uint64_t max_output_pixels;
} GendrPixOptions;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Makes the model whose weights are in this library.
//
// `model` is set on success, and to be freed by `gendr_pix_model_free`. `error` may be NULL; else it is set to NULL
// on success and to what went wrong otherwise, to be freed by `gendr_pix_string_free`. So it is with all functions
// that return a status.
//
// # Safety
//
// `model` and `error` must be NULL or point to memory that can be written.
enum GendrPixStatus gendr_pix_model_bundled(struct GendrPixModel **model, char **error);

// Loads a bundle file, or a diffusers folder with `prompts.safetensors` in it. `path` is UTF-8.
//
// # Safety
//
// As of `gendr_pix_model_bundled`; `path` must be NULL or a string that ends in a zero byte.
enum GendrPixStatus gendr_pix_model_load(const char *path, struct GendrPixModel **model, char **error);

// Frees a model; NULL is let pass.
//
// # Safety
//
// `model` must be NULL or come from this library, be in use by no other thread, and not be used again.
void gendr_pix_model_free(struct GendrPixModel *model);

// Enlarges a picture into a new one with as many channels.
//
// `options` may be NULL for the defaults. `output` is set on success, and its data to be freed by
// `gendr_pix_picture_free`. It may not be `input`, whose data is only read.
//
// # Safety
//
// `model` must be NULL or a model that was not freed; `input->data` must point to `width * height * channels` bytes;
// `options`, `output` and `error` must be NULL or point to such objects, and `options->size` must be as `gendr_pix_options` set
// it.
enum GendrPixStatus gendr_pix_upscale(const struct GendrPixModel *model,
                                      const struct GendrPixPicture *input,
                                      const struct GendrPixOptions *options,
                                      struct GendrPixPicture *output,
                                      char **error);

// Sets `options` to the defaults. `size` is `sizeof(GendrPixOptions)`; NULL is let pass.
//
// # Safety
//
// `options` must be NULL or point to `size` bytes that can be written.
void gendr_pix_options(struct GendrPixOptions *options, size_t size);

// Frees the data of a picture that `gendr_pix_upscale` made, and sets it to NULL; NULL is let pass.
//
// # Safety
//
// `picture` must be NULL or point to a picture whose data is NULL or comes from this library, with the size that it came
// with.
void gendr_pix_picture_free(struct GendrPixPicture *picture);

// Frees what a call told through `error`; NULL is let pass.
//
// # Safety
//
// `string` must be NULL or come from this library, and not be used again.
void gendr_pix_string_free(char *string);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* GENDR_PIX_H */
