/* Frames, keys, chance. */
#include "game.h"

void copy(void *to, const void *from, u32 bytes) {
  if ((((u32)to | (u32)from | bytes) & 3) == 0) {
    u32 *t = to;
    const u32 *f = from;
    for (bytes >>= 2; bytes; bytes--) *t++ = *f++;
  } else {
    u16 *t = to;
    const u16 *f = from;
    for (bytes >>= 1; bytes; bytes--) *t++ = *f++;
  }
}

/* The compiler may ask for these. */
void *memcpy(void *to, const void *from, u32 n) {
  for (u32 i = 0; i < n; i++) ((u8 *)to)[i] = ((const u8 *)from)[i];
  return to;
}

void *memset(void *to, int v, u32 n) {
  for (u32 i = 0; i < n; i++) ((u8 *)to)[i] = v;
  return to;
}

static u32 mixed(u32 h) {
  h ^= h >> 16;
  h *= 0x85EBCA6B;
  h ^= h >> 13;
  h *= 0xC2B2AE35;
  return h ^ h >> 16;
}

void stir(u32 seed) { G->random = mixed(G->random ^ mixed(seed + 0x9E3779B9)); }

/* A number below n, n at most 65536. */
u32 rnd(u32 n) {
  G->random += 0x9E3779B9;
  return (mixed(G->random) >> 16) * n >> 16;
}

/* Sleep until the picture is drawn; then read the keys and the seed's mailbox. */
void frame(void) {
  IF = 1;
  __asm__ volatile("swi 2" ::: "r0", "r1", "r2", "r3", "memory");
  IF = 1;
  G->frame++;
  u16 keys = ~KEYINPUT & 0x3FF;
  G->pressed = keys & ~G->keys;
  G->keys = keys;
  if (MAILBOX) {
    stir(MAILBOX);
    MAILBOX = 0;
  }
}
