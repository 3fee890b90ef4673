/* A VM's statistics, for people and for programs. */
#ifndef UHYVE_CLI_REPORT_H
#define UHYVE_CLI_REPORT_H

#include <stdio.h>
#include <uhyve-c/uhyve.h>

/*
 * Both write all of `stats`. Points in time are told since uhyve_vm_new(); one that was
 * not reached is "-" (table) or null (JSON). 0, or -1 when it could not be written.
 */
int report_table(FILE *stream, const struct uhyve_stats *stats);
int report_json(FILE *stream, const struct uhyve_stats *stats);

#endif
