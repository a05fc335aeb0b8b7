/* What the files of the game tell each other. */
#pragma once
#include "ram.h"

/* system.c */
void frame(void);
u32 rnd(u32 n);
void copy(void *to, const void *from, u32 bytes);
void stir(u32 seed);
/* memory.c */
int flag(int f);
void set_flag(int f);
u16 variable(int v);
void set_variable(int v, u16 value);
u32 money(void);
void set_money(u32 value);
u16 potions(void);
void set_potions(u16 n);
void count_step(void);
void new_saves(void);
void move_saves(void);
/* panel.c */
void panel_load(void);
void panel_clear(void);
void write(int x, int y, const char *text);
void box(int x, int y, int w, int h);
void status_strip(void);
void bar(int x, int y, int tiles, int value, int max, int which);
void label(int x, int y, int which, int chosen);
void arrow(int on);
void say(const char *first, const char *second);
int number(char *to, u32 n);
/* world.c */
void world_show(void);
void world_place(int map, int x, int y, int facing);
void world_frame(void);
void world_run(void);
Object *object_at(int x, int y);
void sprites(void);
void redraw(void);
/* story.c */
void story_talk(Object *o);
void story_arrive(void);
void story_people(void);
/* battle.c */
int battle(int foe);
/* main.c */
void title(void);
