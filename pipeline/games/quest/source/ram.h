/* Where everything lies that a reader of the memory may want: see game.yaml. */
#pragma once
#include "gba.h"

enum { TITLE, WALKING, TEXT, BATTLE_MENU, BATTLE_TEXT, WHITE_OUT, PAUSE };
enum { SOUTH = 1, NORTH = 2, WEST = 3, EAST = 4 };
enum { NOBODY, PLAYER, MOTHER, PROFESSOR, GUARD, BOY, GIRL, FARMER, HERMIT, RIVAL, LEADER, ORB };
enum { NO_FOE, SLIME, DRAKE, FOX, GOLEM };
enum { M_BEDROOM, M_HOUSE, M_TOWN, M_LAB, M_ROUTE, M_MEADOW, M_BRIDGE, M_GYM, M_SIDE };

/* Flags: bits from SAVE1 + 0x1270 on. */
enum { F_LEFT_HOME = 0x50, F_ORB = 0x51, F_PERMIT = 0x52, F_GYM = 0x53, F_ROUTE = 0x54,
       F_MOTHER = 0x55, F_RIVAL = 0x82, F_LEADER = 0x4F0, F_PARTNER = 0x860, F_BADGE = 0x867 };
/* Variables: u16 from SAVE1 + 0x139C on, numbered from 0x4000. */
enum { V_ORB_PLACE = 0x4020, V_BATTLES = 0x4021 };

typedef struct {
  s16 x, y;
  s8 group, number;
  u8 rest[0x15FA];
} Save1;
typedef struct {
  u8 name[8];
  u8 rest[0xA4];
  u32 key; /* 0xAC: money, potions and steps are stored xor this */
  u8 tail[0x50];
} Save2;

typedef struct {
  u32 frame;            /* 0x00 frames since power on */
  u32 random;           /* 0x04 */
  u8 screen;            /* 0x08 TITLE ... */
  u8 in_game;           /* 0x09 */
  u8 locked;            /* 0x0A a text box or a script runs */
  u8 in_battle;         /* 0x0B bit 1 */
  u16 keys, pressed;    /* 0x0C, 0x0E */
  Save1 *save1;         /* 0x10 */
  Save2 *save2;         /* 0x14 */
  u8 player, map;       /* 0x18, 0x19: object number of the player, number of the map */
  u8 pad[6];
  s32 width, height;    /* 0x20, 0x24 the live grid with its border of 7 */
  u16 *cells;           /* 0x28 */
  u32 pad2;
  u8 foe;               /* 0x30 SLIME ... */
  u8 charging;          /* 0x31 the foe gathers force */
  u8 cursor;            /* 0x32 menu line: 0 FIGHT, 1 ITEM, 2 RUN or GUARD */
  u8 trainer;           /* 0x33 the third line is GUARD */
  u16 foe_hp, foe_max;  /* 0x34, 0x36 */
} Globals;
#define G ((Globals *)0x03000000)

typedef struct {
  u8 active, kind, moving, wanders;
  u8 zone[4];           /* 0x04 x0 y0 x1 y1 */
  u16 wait;             /* 0x08 frames until the next thought */
  s8 left;              /* 0x0A pixels still to walk */
  u8 step;              /* 0x0B pixels a frame */
  u32 pad;
  s16 x, y;             /* 0x10, 0x12 */
  u8 foot, pad2[3];
  u8 facing;            /* 0x18 low four bits */
  u8 tail[11];
} Object;               /* 0x24 bytes */
#define OBJECTS ((Object *)0x02002000)
#define OBJECT_COUNT 16

typedef struct {
  u8 secret[0x54];
  u8 level, pad;
  u16 hp, max_hp, attack, defence;
  u8 tail[6];
} Creature;             /* 100 bytes */
#define PARTY_COUNT (*(u8 *)0x02000FFC)
#define PARTY ((Creature *)0x02001000)

#define SAVE1_AREA 0x02004000 /* the block starts somewhere in the first 128 bytes */
#define SAVE2_AREA 0x02006000
#define LIVE_CELLS ((u16 *)0x02008000)
#define MAILBOX (*(volatile u32 *)0x0203FF00)

typedef struct {
  s8 group, number;
  u8 width, height, warps, people;
  const u16 *cells;
  const u8 *warp;
  const u8 *person;
} MapInfo;
