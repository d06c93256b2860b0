/* vec: a module of Lua as a shared library: vectors of the plane. Their length is Euclid's, and with VERSION=2 that of a walk through streets. */
#include <math.h>

#include "lauxlib.h"

#define NAME "vec"

struct vec {
	double x, y;
};

static int made, measured;

static int length(lua_State *l)
{
	struct vec *v = luaL_checkudata(l, 1, NAME);

	measured++;
#if VERSION == 2
	lua_pushnumber(l, fabs(v->x) + fabs(v->y));
#else
	lua_pushnumber(l, sqrt(v->x * v->x + v->y * v->y));
#endif
	lua_pushinteger(l, VERSION);
	return 2;
}

static int new(lua_State *l)
{
	struct vec v = {luaL_checknumber(l, 1), luaL_checknumber(l, 2)};

	*(struct vec *)lua_newuserdata(l, sizeof(v)) = v;
	luaL_setmetatable(l, NAME);
	made++;
	return 1;
}

/* How many there have been, and how many lengths were asked for. */
static int state(lua_State *l)
{
	lua_pushinteger(l, made);
	lua_pushinteger(l, measured);
	return 2;
}

static const luaL_Reg methods[] = {{"length", length}, {NULL, NULL}};
static const luaL_Reg functions[] = {{"new", new}, {"state", state}, {NULL, NULL}};

int luaopen_vec(lua_State *l)
{
	luaL_newmetatable(l, NAME);
	luaL_newlib(l, methods);
	lua_setfield(l, -2, "__index");
	luaL_newlib(l, functions);
	return 1;
}
