# Zydis, Debian's source package: the decoder alone, freestanding. Fetched and checked by tools/fetch-zydis.sh.
ZYDIS_CPPFLAGS := -DZYAN_NO_LIBC -DZYDIS_STATIC_BUILD -DZYCORE_STATIC_BUILD -DZYDIS_DISABLE_ENCODER \
    -DZYDIS_DISABLE_FORMATTER -isystem $B/zydis/include
zydis_parts := Decoder DecoderData SharedData MetaInfo Mnemonic Register Segment Utils
zydis_obj   := $(zydis_parts:%=$B/obj/zydis/%.o)
zydis_host  := $(zydis_parts:%=$B/host/zydis/%.o)

$B/zydis/.fetched: tools/fetch-zydis.sh | $B/.packages
	tools/fetch-zydis.sh $B/zydis
	@touch $@

# Its warnings are its authors' business, so ours are not asked for.
$(zydis_obj): $B/obj/zydis/%.o: $B/zydis/.fetched
	@mkdir -p $(@D)
	@echo '  CC  zydis/$*.c'; $(CC) -O2 -g $(filter-out -include x86/visibility.h,$(FREESTANDING)) -include x86/visibility.h $(ZYDIS_CPPFLAGS) -I$B/zydis/src -c -o $@ $B/zydis/src/$*.c
$(zydis_host): $B/host/zydis/%.o: $B/zydis/.fetched
	@mkdir -p $(@D)
	@echo '  CC  zydis/$*.c'; $(CC) -O2 -g $(ZYDIS_CPPFLAGS) -I$B/zydis/src -c -o $@ $B/zydis/src/$*.c
