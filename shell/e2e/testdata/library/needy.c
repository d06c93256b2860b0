/* A program that needs an application, and gets none. */
int app_entry(int argc, char **argv);

int main(int argc, char **argv)
{
	return app_entry(argc, argv);
}
