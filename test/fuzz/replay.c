/*
 * Gives a fuzz target every file of some directories, so that what the fuzzers have found interesting is
 * tried by make check, without a fuzzer: replay DIRECTORY... prints how many files there were.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* In a block of exactly its size, so that a read beyond its end is seen. */
static void replay(const char *name)
{
    FILE    *file = fopen(name, "rb");
    long     size;
    uint8_t *bytes;

    if (file == NULL || fseek(file, 0, SEEK_END) != 0 || (size = ftell(file)) < 0) {
        perror(name);
        exit(2);
    }
    rewind(file);
    bytes = malloc((size_t)size);
    if (size > 0 && (bytes == NULL || fread(bytes, (size_t)size, 1, file) != 1)) {
        perror(name);
        exit(2);
    }
    fclose(file);
    fprintf(stderr, "%s\n", name); /* the last name is the one that failed */
    LLVMFuzzerTestOneInput(bytes, (size_t)size);
    free(bytes);
}

int main(int argc, char **argv)
{
    unsigned count = 0;

    for (int i = 1; i < argc; i++) {
        DIR *directory = opendir(argv[i]);

        if (directory == NULL) {
            perror(argv[i]);
            return 2;
        }
        for (const struct dirent *e = readdir(directory); e != NULL; e = readdir(directory)) {
            char name[4096];

            if (e->d_name[0] == '.')
                continue;
            snprintf(name, sizeof(name), "%s/%s", argv[i], e->d_name);
            replay(name);
            count++;
        }
        closedir(directory);
    }
    printf("%u files replayed\n", count);
    return count == 0;
}
