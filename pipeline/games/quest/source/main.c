/* QUEST: The Lost Orb. */
#include "art.h"
#include "game.h"

void title(void) {
  G->screen = TITLE;
  copy((void *)VRAM, title_tiles, sizeof title_tiles);
  copy(BG_PALETTE, title_palette, sizeof title_palette);
  panel_load();
  u16 *map = SCREEN(30);
  for (int i = 0; i < 32 * 20; i++) map[i] = i % 32 < 30 ? title_map[i / 32 * 30 + i % 32] : 0;
  BG0CNT = 0 | 2 << 2 | 31 << 8;
  BG1CNT = 1 | 0 << 2 | 30 << 8;
  BG1HOFS = BG1VOFS = 0;
  box(8, 17, 14, 3);
  write(9, 18, "PRESS  START");
  for (int i = 0; i < 128; i++) OAM[i * 4] = 0x200;
  DISPCNT = 0x1340; /* mode 0, backgrounds 0 and 1, sprites in a row */
  do frame();
  while (!(G->pressed & KEY_START));
}

int main(void) {
  IME = 0;
  IE = 1;
  DISPSTAT = 8;
  WAITCNT = 0x4317;
  u32 *ram = (u32 *)0x03000000;
  for (int i = 0; i < 0x40; i++) ram[i] = 0;
  u32 *objects = (u32 *)0x02000FFC;
  for (int i = 0; i < 0x500; i++) objects[i] = 0;
  title();
  stir(G->frame);
  new_saves();
  set_variable(V_ORB_PLACE, rnd(15));
  G->in_game = 1;
  panel_clear();
  G->screen = WALKING;
  world_place(M_BEDROOM, 2, 4, SOUTH);
  world_show();
  say("You wake up. Today your", "quest begins!");
  G->pressed = G->keys = 0;
  world_run();
  return 0;
}
