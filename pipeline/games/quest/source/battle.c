/* Battles. FIGHT, ITEM, and RUN from the wild or GUARD against a trainer. */
#include "art.h"
#include "game.h"

typedef struct {
  const char *name;
  u8 hp, low, high;
} Foe;
static const Foe FOES[] = {
  {"", 0, 0, 0}, {"SLIME", 14, 2, 4}, {"EMBER DRAKE", 60, 7, 10}, {"NIGHT FOX", 34, 3, 6},
  {"GOLEM", 74, 3, 5}};
enum { HIT_LOW = 7, HIT_HIGH = 10, POTION = 36, CHARGE = 50, BLAST_LOW = 15, BLAST_HIGH = 19 };

static u32 between(int low, int high) { return low + rnd(high - low + 1); }

static void beast(int n, int tile, int palette, int x, int y, int picture, int twice) {
  copy(OBJ_TILES + tile * 8, beast_tiles + picture * 512, 2048);
  copy(OBJ_PALETTE + palette * 16, beast_palette + picture * 16, 32);
  volatile u16 *a = OAM + n * 4;
  a[0] = (y & 255) | (twice ? 0x300 : 0);
  a[1] = (x & 511) | 3 << 14;
  a[2] = tile | 1 << 10 | palette << 12;
}

static void hide(int n) {
  OAM[n * 4] = 0x200;
}

static void foe_picture(void) {
  static const u8 pictures[] = {0, 1, 2, 3, 4};
  beast(1, 64, 1, 146, 13, G->charging ? 5 : pictures[G->foe], 0);
  if (G->charging) {
    OAM[3] = 0x80; /* the aura: twice as large */
    OAM[7] = 0;
    OAM[11] = 0;
    OAM[15] = 0x80;
    beast(2, 128, 2, 114, -19, 6, 1);
  } else {
    hide(2);
  }
}

static void plates(void) {
  char digits[12];
  box(0, 2, 16, 5);
  write(1, 3, FOES[G->foe].name);
  bar(2, 4, 12, G->foe_hp, G->foe_max, 1);
  box(16, 9, 14, 5);
  write(17, 10, "SPRIG");
  number(digits, PARTY[0].hp);
  write(24, 10, "HP");
  write(27, 10, digits);
  bar(17, 11, 12, PARTY[0].hp, PARTY[0].max_hp, 0);
  status_strip();
}

static void scene(void) {
  for (int i = 0; i < 128; i++) OAM[i * 4] = 0x200;
  copy((void *)(VRAM + 0xC000), field_tiles, sizeof field_tiles);
  copy(BG_PALETTE, field_palette, sizeof field_palette);
  u16 *map = SCREEN(29);
  for (int i = 0; i < 32 * 20; i++)
    map[i] = i < 32 * 14 && i % 32 < 30 ? field_map[i / 32 * 30 + i % 32] : 0;
  BG1CNT = 1 | 3 << 2 | 29 << 8;
  BG1HOFS = BG1VOFS = 0;
  beast(0, 0, 0, 28, 53, 0, 0);
  foe_picture();
  panel_clear();
  plates();
}

static void white_out(void) {
  G->screen = WHITE_OUT;
  panel_clear();
  for (int i = 0; i < 128; i++) OAM[i * 4] = 0x200;
  u16 *map = SCREEN(29);
  for (int i = 0; i < 32 * 20; i++) map[i] = 383;
  u32 *tile = (u32 *)(VRAM + 0xC000 + 383 * 32);
  for (int i = 0; i < 8; i++) tile[i] = 0x11111111;
  BG_PALETTE[1] = 0x0C12;
  box(4, 7, 22, 6);
  write(6, 8, "SPRIG has fainted.");
  write(6, 10, "The quest is over.");
  do frame();
  while (!(G->pressed & KEY_START));
  ((void (*)(void))0x08000000)();
}

static int choose(void) {
  G->screen = BATTLE_MENU;
  G->cursor = 0;
  box(0, 14, 20, 6);
  write(2, 15, G->charging ? "GOLEM glows with" : "What will SPRIG");
  write(2, 17, G->charging ? "gathered force!" : "do now?");
  for (;;) {
    for (int i = 0; i < 3; i++)
      label(20, 14 + i * 2, i == 2 && G->trainer ? 3 : i, G->cursor == i);
    frame();
    if (G->pressed & KEY_A) return G->cursor;
    if (G->pressed & KEY_DOWN && G->cursor < 2) G->cursor++;
    if (G->pressed & KEY_UP && G->cursor > 0) G->cursor--;
  }
}

static char *text(char *to, const char *from) {
  while (*from) *to++ = *from++;
  *to = 0;
  return to;
}

static const char *line(char *to, const char *a, u32 n, const char *b) {
  char *end = text(to, a);
  end += number(end, n);
  text(end, b);
  return to;
}

static u32 foe_strikes(int guarded) {
  const Foe *f = FOES + G->foe;
  u32 hit = G->charging ? between(BLAST_LOW, BLAST_HIGH) : between(f->low, f->high);
  if (guarded) hit = G->charging ? 1 + rnd(3) : (hit + 1) / 2;
  PARTY[0].hp = PARTY[0].hp > hit ? PARTY[0].hp - hit : 0;
  return hit;
}

/* Fight it out: 1 won, 0 fled. A lost battle ends the game. */
int battle(int foe) {
  char one[32], two[32];
  G->in_battle = 2;
  G->locked = 1;
  G->foe = foe;
  G->trainer = foe >= FOX;
  G->foe_hp = G->foe_max = FOES[foe].hp;
  G->charging = 0;
  u8 before = G->screen;
  G->screen = BATTLE_TEXT;
  set_variable(V_BATTLES, variable(V_BATTLES) + 1);
  scene();
  text(text(one, FOES[foe].name), G->trainer ? " wants to" : " jumps out");
  say(one, G->trainer ? "fight!" : "of the grass!");
  int result = -1;
  while (result < 0) {
    int choice = choose();
    const char *said = one;
    G->screen = BATTLE_TEXT;
    if (choice == 0 && G->charging) {
      said = "SPRIG bounces off!";
    } else if (choice == 0) {
      u32 hit = between(HIT_LOW, HIT_HIGH);
      G->foe_hp = G->foe_hp > hit ? G->foe_hp - hit : 0;
      line(one, "SPRIG hits for ", hit, "!");
    } else if (choice == 1 && potions()) {
      set_potions(potions() - 1);
      u32 hp = PARTY[0].hp + POTION;
      PARTY[0].hp = hp > PARTY[0].max_hp ? PARTY[0].max_hp : hp;
      said = "SPRIG drinks a potion.";
    } else if (choice == 1) {
      said = "There is no potion left.";
    } else if (G->trainer) {
      said = "SPRIG puts up its guard.";
    } else if (rnd(4)) {
      result = 0;
      said = "Got away safely!";
    } else {
      said = "Could not get away!";
    }
    if (!G->foe_hp) result = 1;
    if (result < 0) line(two, "The foe strikes for ", foe_strikes(choice == 2 && G->trainer), "!");
    else text(two, result ? "The foe is beaten!" : "");
    int charged = G->charging;
    G->charging = result < 0 && foe == GOLEM && !charged && rnd(100) < CHARGE;
    plates();
    if (result == 1) hide(1), hide(2);
    say(said, two);
    if (!PARTY[0].hp) white_out();
    if (result < 0) foe_picture();
  }
  G->in_battle = 0;
  G->foe = G->charging = 0;
  G->screen = before;
  G->locked = 0;
  world_show();
  return result;
}
