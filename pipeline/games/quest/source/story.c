/* The errand, told in flags. */
#include "game.h"

static void away(Object *o) { o->active = 0; }

static Object *find(int kind) {
  for (int i = 1; i < OBJECT_COUNT; i++)
    if (OBJECTS[i].active && OBJECTS[i].kind == kind) return OBJECTS + i;
  return 0;
}

/* After a map is set up: guards stand aside for those who may pass, the beaten rival is gone. */
void story_people(void) {
  Object *o = find(GUARD);
  if (o && flag(G->map == M_TOWN ? F_PARTNER : F_PERMIT)) {
    o->x += 1;
    o->y += 1;
    o->facing = WEST;
  }
  o = find(RIVAL);
  if (o && flag(F_RIVAL)) away(o);
}

static void heal(void) {
  if (PARTY_COUNT) PARTY[0].hp = PARTY[0].max_hp;
  status_strip();
}

static void face_player(Object *o) {
  static const u8 back[5] = {0, NORTH, SOUTH, EAST, WEST};
  if (!o->left) o->facing = back[OBJECTS->facing];
  sprites();
}

static void professor(void) {
  if (flag(F_PARTNER)) {
    say("PROFESSOR: The orb lies in", "the meadow. Good luck!");
    return;
  }
  say("PROFESSOR: Ah, there you", "are! The orb is lost.");
  say("Take SPRIG and find it in", "the meadow up north.");
  Creature *c = PARTY;
  c->level = 7;
  c->hp = c->max_hp = 60;
  PARTY_COUNT = 1;
  set_flag(F_PARTNER);
  status_strip();
  say("You got SPRIG! Bring the", "orb to the HERMIT.");
}

static void hermit(void) {
  if (flag(F_PERMIT)) {
    say("HERMIT: The gate is open.", "The LEADER waits.");
  } else if (flag(F_ORB)) {
    say("HERMIT: The orb! At last!", "Your SPRIG shall rest.");
    heal();
    set_flag(F_PERMIT);
    set_potions(4);
    set_money(money() + 500);
    status_strip();
    say("Take this PERMIT. The", "gate is open now.");
    Object *o = find(GUARD);
    if (o) {
      o->x += 1;
      o->y += 1;
      o->facing = WEST;
    }
  } else {
    say("HERMIT: The orb fell down", "somewhere in the meadow.");
  }
}

static void leader(void) {
  if (!flag(F_LEADER)) {
    say("LEADER: My GOLEM gathers", "force. Mind its glow!");
    battle(GOLEM);
    set_flag(F_LEADER);
    status_strip();
    say("LEADER: Well fought. You", "have earned this.");
  }
  if (!flag(F_BADGE)) {
    set_flag(F_BADGE);
    status_strip();
  }
  say("You got the GLOW BADGE!", "Your quest is done.");
}

static void rival(void) {
  say("RIVAL: No one crosses my", "bridge! Have at you!");
  battle(FOX);
  set_flag(F_RIVAL);
  set_money(money() + 300);
  Object *o = find(RIVAL);
  if (o) away(o);
  status_strip();
  sprites();
}

void story_talk(Object *o) {
  if (o->kind != ORB) face_player(o);
  switch (o->kind) {
    case MOTHER:
      heal();
      say("MOTHER: Have a rest, dear.", "Now you are fit again.");
      break;
    case PROFESSOR: professor(); break;
    case HERMIT: hermit(); break;
    case RIVAL: rival(); break;
    case LEADER: leader(); break;
    case ORB:
      away(o);
      set_flag(F_ORB);
      status_strip();
      sprites();
      say("You found the LOST ORB!", "It hums softly.");
      break;
    case GUARD:
      if (G->map == M_TOWN) say("GUARD: The grass is wild.", "Go with a partner only.");
      else say("GUARD: This gate is shut.", "Have you got a PERMIT?");
      break;
    case FARMER: say("FARMER: Fight the green", "ones, run from the red!"); break;
    case GIRL: say("GIRL: A glowing foe hits", "hard. GUARD yourself!"); break;
    default: say("BOY: I stroll about here.", "Am I in your way?"); break;
  }
}

/* Whenever the player has come to another tile. */
void story_arrive(void) {
  Object *p = OBJECTS;
  if (G->map == M_TOWN && !flag(F_LEFT_HOME)) set_flag(F_LEFT_HOME);
  if (G->map == M_ROUTE && !flag(F_ROUTE)) set_flag(F_ROUTE);
  if (G->map == M_GYM && !flag(F_GYM)) set_flag(F_GYM);
  if (G->map == M_HOUSE && !flag(F_MOTHER) && p->y >= 6) {
    set_flag(F_MOTHER);
    say("MOTHER: Good morning! The", "PROFESSOR asked for you.");
    say("His house has a blue roof.", "Take care!");
  }
  if (G->map == M_BRIDGE && !flag(F_RIVAL) && p->x == 5 && p->y == 11) rival();
}
