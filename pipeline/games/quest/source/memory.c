/* The save blocks: behind pointers, moved and encrypted anew at every change of map. */
#include "game.h"

#define FIELD16(o) (*(u16 *)((u8 *)G->save1 + (o)))
#define FIELD32(o) (*(u32 *)((u8 *)G->save1 + (o)))
#define FLAGS ((u8 *)G->save1 + 0x1270)
enum { MONEY = 0x490, POTIONS = 0x496, VARIABLES = 0x139C, STEPS = 0x159C + 20 };

int flag(int f) { return FLAGS[f >> 3] >> (f & 7) & 1; }
void set_flag(int f) { FLAGS[f >> 3] |= 1 << (f & 7); }
u16 variable(int v) { return FIELD16(VARIABLES + 2 * (v - 0x4000)); }
void set_variable(int v, u16 value) { FIELD16(VARIABLES + 2 * (v - 0x4000)) = value; }
u32 money(void) { return FIELD32(MONEY) ^ G->save2->key; }
void set_money(u32 value) { FIELD32(MONEY) = value ^ G->save2->key; }
u16 potions(void) { return FIELD16(POTIONS) ^ (u16)G->save2->key; }
void set_potions(u16 n) { FIELD16(POTIONS) = n ^ (u16)G->save2->key; }
void count_step(void) {
  u32 key = G->save2->key;
  FIELD32(STEPS) = ((FIELD32(STEPS) ^ key) + 1) ^ key;
}

static u32 new_key(void) { return rnd(0x10000) << 16 | rnd(0x10000) | 1; }

/* Blocks are cleared, then the pointers are set: a reader never meets an unset pointer in a game. */
void new_saves(void) {
  u32 *area = (u32 *)SAVE1_AREA;
  for (u32 i = 0; i < (SAVE2_AREA + 0x200 - SAVE1_AREA) / 4; i++) area[i] = 0;
  u32 offset = rnd(32) * 4;
  G->save1 = (Save1 *)(SAVE1_AREA + offset);
  G->save2 = (Save2 *)(SAVE2_AREA + offset);
  G->save2->key = new_key();
  const char name[8] = "HERO";
  for (int i = 0; i < 8; i++) G->save2->name[i] = name[i];
  set_money(3000);
  set_potions(3);
  FIELD32(STEPS) = G->save2->key;
}

static void move(u8 *to, u8 *from, u32 n) {
  if (to < from) {
    for (u32 i = 0; i < n; i += 4) *(u32 *)(to + i) = *(u32 *)(from + i);
  } else if (to > from) {
    for (u32 i = n; i; i -= 4) *(u32 *)(to + i - 4) = *(u32 *)(from + i - 4);
  }
}

void move_saves(void) {
  u32 offset = rnd(32) * 4, old = G->save2->key, key = new_key();
  u8 *one = (u8 *)SAVE1_AREA + offset, *two = (u8 *)SAVE2_AREA + offset;
  move(one, (u8 *)G->save1, sizeof(Save1));
  move(two, (u8 *)G->save2, sizeof(Save2));
  G->save1 = (Save1 *)one;
  G->save2 = (Save2 *)two;
  G->save2->key = key;
  FIELD32(MONEY) ^= old ^ key;
  FIELD32(STEPS) ^= old ^ key;
  FIELD16(POTIONS) ^= (u16)(old ^ key);
}
