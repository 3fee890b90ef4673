/* Criterion has it as a header of its own. */
#include "criterion.h"
