/* The console's registers, as far as this game uses them. */
#pragma once
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef signed char s8;
typedef signed short s16;
typedef signed int s32;

#define R16(a) (*(volatile u16 *)(a))
#define R32(a) (*(volatile u32 *)(a))
#define DISPCNT R16(0x04000000)
#define DISPSTAT R16(0x04000004)
#define BG0CNT R16(0x04000008)
#define BG1CNT R16(0x0400000A)
#define BG1HOFS R16(0x04000014)
#define BG1VOFS R16(0x04000016)
#define KEYINPUT R16(0x04000130)
#define IE R16(0x04000200)
#define IF R16(0x04000202)
#define WAITCNT R16(0x04000204)
#define IME R16(0x04000208)

#define VRAM 0x06000000
#define SCREEN(n) ((u16 *)(VRAM + (n) * 0x800))
#define BG_PALETTE ((u16 *)0x05000000)
#define OBJ_PALETTE ((u16 *)0x05000200)
#define OBJ_TILES ((u32 *)0x06010000)
#define OAM ((volatile u16 *)0x07000000)

enum { KEY_A = 1, KEY_B = 2, KEY_SELECT = 4, KEY_START = 8, KEY_RIGHT = 16, KEY_LEFT = 32,
       KEY_UP = 64, KEY_DOWN = 128 };
