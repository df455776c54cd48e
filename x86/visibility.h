/* Included before everything in the image: nothing is exported, so no reference needs a GOT. */
#pragma GCC visibility push(hidden)
