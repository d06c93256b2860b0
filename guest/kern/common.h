/* common.h: what common.c, commonpipe.c and commonfile.c say to each other. */
#ifndef COMMON_H
#define COMMON_H

/* For each kind: see common_hold_all, common_drop_all and common_news. */
void pipes_hold_all(void);
void pipes_drop_all(void);
void pipes_news(void);
void nodes_hold_all(void);
void nodes_drop_all(void);

#endif
