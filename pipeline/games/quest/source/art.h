/* Written by build_assets.py: do not edit. */
#pragma once
#include "ram.h"

extern const u32 map_tiles[3920];
extern const u16 map_palette[192];
extern const u16 metatiles[812];
extern const u8 behaviours[203];
extern const u16 cells_bedroom[483];
extern const u8 warps_bedroom[5];
extern const u8 people_on_bedroom[1];
extern const u16 cells_house[552];
extern const u8 warps_house[10];
extern const u8 people_on_house[8];
extern const u16 cells_town[1088];
extern const u8 warps_town[20];
extern const u8 people_on_town[32];
extern const u16 cells_lab[575];
extern const u8 warps_lab[5];
extern const u8 people_on_lab[8];
extern const u16 cells_route[1036];
extern const u8 warps_route[10];
extern const u8 people_on_route[8];
extern const u16 cells_meadow[1330];
extern const u8 warps_meadow[10];
extern const u8 people_on_meadow[24];
extern const u16 cells_bridge[1020];
extern const u8 warps_bridge[10];
extern const u8 people_on_bridge[16];
extern const u16 cells_gym[650];
extern const u8 warps_gym[5];
extern const u8 people_on_gym[8];
extern const u16 cells_side_house[483];
extern const u8 warps_side_house[5];
extern const u8 people_on_side_house[8];
extern const MapInfo maps[9];
extern const u8 orb_places[30];
extern const u32 title_tiles[3224];
extern const u16 title_palette[176];
extern const u16 title_map[600];
extern const u32 field_tiles[704];
extern const u16 field_palette[16];
extern const u16 field_map[420];
extern const u32 panel_tiles[2112];
extern const u16 panel_palette[64];
extern const u16 panel_font[95];
extern const u16 panel_frame[9];
extern const u16 panel_arrow[4];
extern const u16 panel_label[160];
extern const u16 panel_icon[48];
extern const u16 panel_bar[36];
extern const u16 panel_dark[1];
#define BAR_COLOUR_0 237
#define BAR_COLOUR_1 238
extern const u32 people_tiles[3904];
extern const u16 people_palette[176];
extern const u32 beast_tiles[3584];
extern const u16 beast_palette[112];
