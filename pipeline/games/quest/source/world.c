/* Maps, camera, people, steps. The player always stands at tile (7, 5) of the screen. */
#include "art.h"
#include "game.h"

enum { BORDER = 7, GRASS = 1, LEDGE_SOUTH = 2, LEDGE_WEST = 3, LEDGE_EAST = 4 };
static const s8 DX[5] = {0, 0, 0, -1, 1}, DY[5] = {0, 1, -1, 0, 0};
static u16 *const MAP = SCREEN(30);

static u16 cell(int x, int y) {
  x += BORDER;
  y += BORDER;
  if (x < 0 || y < 0 || x >= G->width || y >= G->height) return G->cells[0];
  return G->cells[y * G->width + x];
}

static void draw_cell(int x, int y) {
  const u16 *t = metatiles + (cell(x, y) & 0x3FF) * 4;
  u16 *at = MAP + (y & 15) * 64 + (x & 15) * 2;
  at[0] = t[0];
  at[1] = t[1];
  at[32] = t[2];
  at[33] = t[3];
}

void redraw(void) {
  Object *p = OBJECTS;
  for (int y = p->y - 5; y <= p->y + 5; y++)
    for (int x = p->x - 7; x <= p->x + 8; x++) draw_cell(x, y);
}

/* The map's tiles, colours and background registers (after the title or a battle). */
void world_show(void) {
  copy((void *)VRAM, map_tiles, sizeof map_tiles);
  copy(BG_PALETTE, map_palette, sizeof map_palette);
  copy(OBJ_TILES, people_tiles, sizeof people_tiles);
  copy(OBJ_PALETTE, people_palette, sizeof people_palette);
  BG0CNT = 0 | 2 << 2 | 31 << 8;
  BG1CNT = 1 | 0 << 2 | 30 << 8;
  redraw();
  panel_clear();
  status_strip();
  sprites();
}

Object *object_at(int x, int y) {
  for (int i = 0; i < OBJECT_COUNT; i++)
    if (OBJECTS[i].active && OBJECTS[i].x == x && OBJECTS[i].y == y) return OBJECTS + i;
  return 0;
}

static void add(int n, int kind, int x, int y, int facing) {
  Object *o = OBJECTS + n;
  for (u32 i = 0; i < sizeof *o; i++) ((u8 *)o)[i] = 0;
  o->active = 1;
  o->kind = kind;
  o->x = x;
  o->y = y;
  o->facing = facing;
  o->wait = 20 + rnd(30);
}

void world_place(int map, int x, int y, int facing) {
  const MapInfo *m = maps + map;
  G->map = map;
  move_saves();
  G->save1->x = x;
  G->save1->y = y;
  G->save1->group = m->group;
  G->save1->number = m->number;
  G->width = m->width;
  G->height = m->height;
  G->cells = LIVE_CELLS;
  copy(LIVE_CELLS, m->cells, (m->width * m->height * 2 + 3) & ~3);
  for (int i = 0; i < OBJECT_COUNT; i++) OBJECTS[i].active = 0;
  add(0, PLAYER, x, y, facing);
  for (int i = 0; i < m->people; i++) {
    const u8 *p = m->person + i * 8;
    add(i + 1, p[0], p[1], p[2], SOUTH);
    Object *o = OBJECTS + i + 1;
    o->wanders = p[7];
    for (int k = 0; k < 4; k++) o->zone[k] = p[3 + k];
    if (p[7]) { /* somewhere in the zone */
      for (int n = 0; n < 20; n++) {
        int a = p[3] + rnd(p[5] - p[3] + 1), b = p[4] + rnd(p[6] - p[4] + 1);
        if (!(cell(a, b) & 0xC00) && !behaviours[cell(a, b) & 0x3FF] && !object_at(a, b)) {
          o->x = a;
          o->y = b;
          break;
        }
      }
    }
  }
  if (map == M_MEADOW && !flag(F_ORB)) {
    const u8 *place = orb_places + variable(V_ORB_PLACE) * 2;
    add(m->people + 1, ORB, place[0], place[1], SOUTH);
  }
  story_people();
  redraw();
  sprites();
}

/* Camera and sprites; people further down the screen cover those above. */
void sprites(void) {
  Object *p = OBJECTS;
  int shift_x = -DX[p->facing] * p->left, shift_y = -DY[p->facing] * p->left;
  int order[OBJECT_COUNT], n = 0;
  BG1HOFS = p->x * 16 + shift_x - 112;
  BG1VOFS = p->y * 16 + shift_y - 80;
  for (int i = 0; i < OBJECT_COUNT; i++) {
    if (!OBJECTS[i].active) continue;
    int k = n++;
    for (; k && OBJECTS[order[k - 1]].y < OBJECTS[i].y; k--) order[k] = order[k - 1];
    order[k] = i;
  }
  for (int k = 0; k < 128; k++) {
    volatile u16 *a = OAM + k * 4;
    a[0] = 0x200;
    if (k >= n) {
      if (a[2] == 0xFFFF) break; /* the rest is hidden already */
      a[2] = 0xFFFF;
      continue;
    }
    Object *o = OBJECTS + order[k];
    int x = (o->x - p->x) * 16 + 112 - DX[o->facing] * o->left - shift_x;
    int y = (o->y - p->y) * 16 + 64 - 2 - DY[o->facing] * o->left - shift_y;
    if (o->moving == 2) y -= o->left > 16 ? (32 - o->left) / 2 : o->left / 2;
    a[2] = 0;
    if (x <= -16 || x >= 240 || y <= -32 || y >= 160) continue;
    int look = o->kind - 1, mirror = 0, tile, moving = o->left && (o->left & 8);
    if (o->kind == ORB) {
      tile = 10 * 48;
      look = 10;
    } else {
      int view = o->facing == SOUTH ? 0 : o->facing == NORTH ? 2 : 4;
      tile = look * 48 + (view + moving) * 8;
      mirror = o->facing == EAST || (view < 4 && moving && o->foot);
    }
    a[0] = (y & 255) | 2 << 14;
    a[1] = (x & 511) | mirror << 12 | 2 << 14;
    a[2] = tile | 1 << 10 | look << 12;
  }
}

static int warp_at(int x, int y) {
  const MapInfo *m = maps + G->map;
  for (int i = 0; i < m->warps; i++)
    if (m->warp[i * 5] == x && m->warp[i * 5 + 1] == y) return i + 1;
  return 0;
}

/* Where people may stand: no walls, grass, ledges, doors, nor other people. */
static int open_for(int x, int y) {
  return !(cell(x, y) & 0xC00) && !behaviours[cell(x, y) & 0x3FF] && !warp_at(x, y) &&
         !object_at(x, y);
}

static int free_for(Object *o, int x, int y) {
  if (o == OBJECTS) return !(cell(x, y) & 0xC00) && !object_at(x, y);
  if (!open_for(x, y)) return 0;
  return x >= o->zone[0] && y >= o->zone[1] && x <= o->zone[2] && y <= o->zone[3];
}

static void set_off(Object *o, int facing, int tiles) {
  o->facing = facing;
  o->x += DX[facing] * tiles;
  o->y += DY[facing] * tiles;
  o->left = tiles * 16;
  o->step = tiles * 2;
  o->moving = tiles;
  o->foot ^= 1;
}

static void think(Object *o) {
  int ways[4], n = 0;
  for (int d = SOUTH; d <= EAST; d++)
    if (free_for(o, o->x + DX[d], o->y + DY[d])) ways[n++] = d;
  for (int d = SOUTH; !n && d <= EAST; d++) /* hemmed in: the zone may be left */
    if (open_for(o->x + DX[d], o->y + DY[d])) ways[n++] = d;
  o->wait = 18 + rnd(40);
  if (n && rnd(4)) set_off(o, ways[rnd(n)], 1);
}

/* One frame of the world: people think and everybody's picture moves on. */
void world_frame(void) {
  for (int i = 0; i < OBJECT_COUNT; i++) {
    Object *o = OBJECTS + i;
    if (!o->active) continue;
    if (o->left) {
      o->left -= o->step;
      if (o->left <= 0) o->left = o->moving = 0;
    } else if (o->wanders) {
      if (o->wait) o->wait--;
      else think(o);
    }
  }
  sprites();
  frame();
}

static void walk(int facing, int tiles) {
  Object *p = OBJECTS;
  set_off(p, facing, tiles);
  G->save1->x = p->x;
  G->save1->y = p->y;
  redraw();
  while (p->left) world_frame();
  count_step();
}

static int try_warp(int facing) {
  int n = warp_at(OBJECTS->x, OBJECTS->y);
  if (!n) return 0;
  const u8 *w = maps[G->map].warp + (n - 1) * 5;
  world_place(w[2], w[3], w[4], facing);
  return 1;
}

static void step(int facing) {
  Object *p = OBJECTS;
  int x = p->x + DX[facing], y = p->y + DY[facing];
  int kind = behaviours[cell(x, y) & 0x3FF];
  p->facing = facing;
  if (kind >= LEDGE_SOUTH) {
    int way = kind == LEDGE_SOUTH ? SOUTH : kind == LEDGE_WEST ? WEST : EAST;
    if (way != facing || !free_for(p, x + DX[facing], y + DY[facing])) return;
    walk(facing, 2);
  } else if (free_for(p, x, y)) {
    walk(facing, 1);
  } else {
    return;
  }
  if (!try_warp(facing) && behaviours[cell(p->x, p->y) & 0x3FF] == GRASS && !rnd(8))
    battle(rnd(100) < 55 ? SLIME : DRAKE);
  story_arrive();
}

static void pause_box(void) {
  char digits[12] = "";
  G->screen = PAUSE;
  G->locked = 1;
  box(8, 5, 14, 7);
  write(11, 6, "- PAUSE -");
  write(10, 8, "MONEY");
  number(digits, money());
  write(16, 8, digits);
  write(10, 10, "B: GO ON");
  do frame();
  while (!(G->pressed & KEY_B));
  G->screen = WALKING;
  G->locked = 0;
  panel_clear();
  status_strip();
}

void world_run(void) {
  static const struct { u8 facing; u16 key; } ways[] = {
    {NORTH, KEY_UP}, {SOUTH, KEY_DOWN}, {WEST, KEY_LEFT}, {EAST, KEY_RIGHT}};
  for (;;) {
    if (G->pressed & KEY_START) {
      pause_box();
    } else if (G->pressed & KEY_A) {
      Object *p = OBJECTS, *o = object_at(p->x + DX[p->facing], p->y + DY[p->facing]);
      if (o) story_talk(o);
    } else {
      for (int i = 0; i < 4; i++)
        if (G->keys & ways[i].key) {
          step(ways[i].facing);
          break;
        }
    }
    world_frame();
  }
}
