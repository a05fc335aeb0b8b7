/* Text boxes, status strip, bars: everything on the upper background. */
#include "art.h"
#include "game.h"

#define TILE(n) panel_##n
static u16 *const MAP = SCREEN(31);

static void put(int x, int y, u16 entry) { MAP[y * 32 + x] = entry; }

void panel_load(void) {
  /* Tile 511 of the block stays empty: what is see-through points there. */
  copy((void *)(VRAM + 0x8000), panel_tiles, sizeof panel_tiles);
  u32 *empty = (u32 *)(VRAM + 0x8000 + 511 * 32);
  for (int i = 0; i < 8; i++) empty[i] = 0;
  copy(BG_PALETTE + 12 * 16, panel_palette, sizeof panel_palette);
  panel_clear();
}

void panel_clear(void) {
  for (int i = 0; i < 32 * 20; i++) MAP[i] = 511;
}

void write(int x, int y, const char *text) {
  for (; *text; text++) put(x++, y, panel_font[*text - 32]);
}

void box(int x, int y, int w, int h) {
  for (int j = 0; j < h; j++)
    for (int i = 0; i < w; i++) {
      int row = j == 0 ? 0 : j == h - 1 ? 6 : 3, column = i == 0 ? 0 : i == w - 1 ? 2 : 1;
      put(x + i, y + j, panel_frame[row + column]);
    }
}

static void picture(int x, int y, const u16 *entries, int w) {
  for (int j = 0; j < 2; j++)
    for (int i = 0; i < w; i++) put(x + i, y + j, entries[j * w + i]);
}

void arrow(int on) {
  if (on) picture(27, 17, panel_arrow, 2);
}

void label(int x, int y, int which, int chosen) {
  picture(x, y, panel_label + (which * 2 + chosen) * 20, 10);
}

/* A bar with its own colour (which: 0 the partner's, 1 the foe's). */
void bar(int x, int y, int tiles, int value, int max, int which) {
  int dots = max ? value * tiles * 8 / max : 0;
  if (value && !dots) dots = 1;
  for (int i = 0; i < tiles; i++) {
    int fill = dots - i * 8;
    fill = fill < 0 ? 0 : fill > 8 ? 8 : fill;
    put(x + i, y, panel_bar[which * 18 + fill]);
    put(x + i, y + 1, panel_bar[which * 18 + 9 + fill]);
  }
  /* Green above 60 %, yellow above 30 %, red: the colour tells when to drink. */
  u16 tone = value * 5 > max * 3 ? 0x1B86 : value * 10 > max * 3 ? 0x131E : 0x18DE;
  BG_PALETTE[which ? BAR_COLOUR_1 : BAR_COLOUR_0] = tone;
}

void status_strip(void) {
  static const u16 shown[5] = {F_PARTNER, F_ORB, F_PERMIT, F_RIVAL, F_BADGE};
  for (int i = 0; i < 60; i++) put(i % 30, i / 30, panel_dark[0]);
  for (int i = 0; i < 5; i++) {
    int on = flag(shown[i]);
    if (shown[i] == F_ORB && flag(F_PERMIT)) on = 0; /* it was handed over */
    picture(i * 2, 0, panel_icon + (i * 2 + on) * 4, 2);
  }
  for (int i = 0; i < 4; i++) picture(11 + i * 2, 0, panel_icon + (10 + (potions() > i)) * 4, 2);
  if (PARTY_COUNT) bar(19, 0, 10, PARTY[0].hp, PARTY[0].max_hp, 0);
}

/* One box of two lines, shown at once; A closes it. */
void say(const char *first, const char *second) {
  u8 before = G->screen;
  G->screen = before == WALKING ? TEXT : before == TITLE ? TEXT : BATTLE_TEXT;
  G->locked = 1;
  box(0, 14, 30, 6);
  write(2, 15, first);
  write(2, 17, second);
  arrow(1);
  do frame();
  while (!(G->pressed & KEY_A));
  for (int y = 14; y < 20; y++)
    for (int x = 0; x < 30; x++) put(x, y, 511);
  G->screen = before;
  G->locked = before != WALKING;
}

/* Decimal digits with an end mark; answers their count. */
int number(char *to, u32 n) {
  int digits = 1;
  for (u32 k = n; k >= 10; k /= 10) digits++;
  for (int i = digits; i--; n /= 10) to[i] = '0' + n % 10;
  to[digits] = 0;
  return digits;
}
