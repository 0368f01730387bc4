/* Enlarges a PPM picture:
 *
 *     upscale in.ppm out.ppm [scale]
 */
#include "gendr_pix.h"

#include <stdio.h>
#include <stdlib.h>

static int fail(const char *what, char *error) {
    fprintf(stderr, "upscale: %s: %s\n", what, error ? error : "cannot be read or written");
    gendr_pix_string_free(error);
    return 1;
}

static int read_ppm(const char *path, GendrPixPicture *picture) {
    unsigned width, height, max;
    FILE *file = fopen(path, "rb");
    int ok = file && fscanf(file, "P6 %5u %5u %3u", &width, &height, &max) == 3 && max == 255;
    if (ok) {
        size_t size = (size_t)width * height * 3;
        fgetc(file); /* white space after the header */
        picture->data = malloc(size);
        picture->width = width;
        picture->height = height;
        picture->channels = 3;
        ok = picture->data && fread(picture->data, 1, size, file) == size;
    }
    if (file) fclose(file);
    return ok;
}

static int write_ppm(const char *path, const GendrPixPicture *picture) {
    size_t size = (size_t)picture->width * picture->height * 3;
    FILE *file = fopen(path, "wb");
    int ok = file && fprintf(file, "P6\n%u %u\n255\n", picture->width, picture->height) > 0
        && fwrite(picture->data, 1, size, file) == size;
    return file && fclose(file) == 0 && ok;
}

static void show_progress(double fraction, void *user) {
    int *shown = user, percent = (int)(100 * fraction);
    if (percent == *shown) return;
    *shown = percent;
    fprintf(stderr, "\r%3d %%%s", percent, percent < 100 ? "" : "\n");
}

int main(int count, char **arguments) {
    GendrPixOptions options;
    GendrPixPicture small = {0}, large = {0};
    GendrPixModel *model = NULL;
    char *error = NULL;
    int failed = 0, shown = 0;

    if (count < 3) return fail("usage", NULL), 2;
    gendr_pix_options(&options, sizeof options);
    options.progress = show_progress;
    options.user = &shown;
    if (count > 3) options.scale = atof(arguments[3]);

    if (!read_ppm(arguments[1], &small))
        failed = fail(arguments[1], NULL);
    else if (gendr_pix_model_bundled(&model, &error) != GENDR_PIX_STATUS_OK)
        failed = fail("the model", error);
    else if (gendr_pix_upscale(model, &small, &options, &large, &error) != GENDR_PIX_STATUS_OK)
        failed = fail(arguments[1], error);
    else if (!write_ppm(arguments[2], &large))
        failed = fail(arguments[2], NULL);

    gendr_pix_picture_free(&large);
    gendr_pix_model_free(model);
    free(small.data);
    return failed;
}
