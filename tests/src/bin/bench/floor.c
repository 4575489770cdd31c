/* The least that a program can be: what the agents are measured against. */
int main(void) { return 0; }
